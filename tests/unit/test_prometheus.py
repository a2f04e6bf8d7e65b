"""Cases T70-T75 of telemetry §9, our own families, and the dashboard that stands on them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from llamaswap.config.schema import Config, Peer, Performance
from llamaswap.errors import TooManyRequests
from llamaswap.telemetry.bus import EventBus
from llamaswap.telemetry.counters import Counters, CountingObserver, offered_by_peer
from llamaswap.telemetry.exposition import (
    Family,
    Histogram,
    HistogramFamily,
    exposition,
    number_text,
)
from llamaswap.telemetry.loghub import LogHub
from llamaswap.telemetry.observation import Ending, Observation, Outcome
from llamaswap.telemetry.prometheus import gpu_families, host_families, metrics
from llamaswap.telemetry.sampler import Monitor
from llamaswap.telemetry.samples import (
    GpuReading,
    GpuSnapshot,
    ModelMemory,
    NetworkCounter,
    SystemSample,
    now,
)

DASHBOARD = Path(__file__).parents[2] / "packaging/grafana/llamaswap.json"
SAMPLE = SystemSample(
    at=now(),
    cpu_util_per_core=(10.5, 20.0),
    mem_total_mb=8192,
    mem_used_mb=4096,
    mem_free_mb=100,
    swap_total_mb=2048,
    swap_used_mb=1,
    load=(0.61, 0.5, 12.0),
    network=(NetworkCounter("eth0", 912334455, 88123456),),
)
L40S = GpuReading(
    id=0,
    name="NVIDIA L40S",
    uuid="GPU-1",
    temp_c=51,
    vram_temp_c=58,
    gpu_util_pct=37.0,
    mem_used_mb=8192,
    mem_total_mb=46068,
    fan_speed_pct=40.0,
    power_draw_w=96.4,
)
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parsed(text: str) -> Samples:
    """Every sample, as Prometheus' own parser reads it."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(name: str, /, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def nothing_offered(name: str) -> bool:
    return False


def monitor(
    sample: SystemSample | None = None,
    cards: Sequence[GpuReading] = (),
    age: float = 0,
    models: Sequence[ModelMemory] = (),
) -> Monitor:
    watched = Monitor(Performance(), EventBus())
    watched.newest_system = sample
    watched.models = models
    if cards:
        watched.newest_gpus = GpuSnapshot(now() - timedelta(seconds=age), cards)
    return watched


def text_of(watched: Monitor, counters: Counters | None = None, **states: str) -> str:
    return metrics(watched, counters or Counters(nothing_offered), states, LogHub())


def begun(counters: Counters, model: str = "m", *, local: bool = True) -> Observation:
    observation = Observation(
        CountingObserver(counters),
        model,
        "/v1/chat/completions",
        "POST",
        (),
        "127.0.0.1",
        trio.CancelScope(),
        row=True,
        local=local,
        began=100.0,
    )
    observation.observer.begin(observation)
    return observation


def full() -> str:
    """Everything there is, at once."""
    counters = Counters(nothing_offered)
    done = begun(counters)
    done.granted(1, "/x", b"")
    done.status = 200
    done.finish(Outcome.COMPLETE)
    counters.used("m", fresh=12, cached=4, output=7)
    begun(counters)
    begun(counters).granted(1, "/x", b"")
    counters.swapped("m", evicting=True)
    counters.state_changed("m", "starting", "")
    counters.state_changed("m", "ready", "")
    counters.state_changed("m", "stopped", "ttl")
    counters.state_changed("n", "starting", "")
    counters.state_changed("n", "stopped", "exit")
    memory = [ModelMemory(model="m", rss_mb=300, vram_mb=4000)]
    watched = monitor(SAMPLE, [L40S], models=memory)
    return text_of(watched, counters, m="stopped", n="ready")


# --- as llama-swap has it -------------------------------------------------------------------------


def test_the_machine_as_text() -> None:
    text = exposition(host_families(SAMPLE))
    assert text == (
        "# HELP llamaswap_cpu_util_percent Busy share of one logical processor.\n"
        "# TYPE llamaswap_cpu_util_percent gauge\n"
        'llamaswap_cpu_util_percent{core="0"} 10.5\n'
        'llamaswap_cpu_util_percent{core="1"} 20\n'
        "# HELP llamaswap_memory_total_bytes Size of memory.\n"
        "# TYPE llamaswap_memory_total_bytes gauge\n"
        "llamaswap_memory_total_bytes 8589934592\n"
        "# HELP llamaswap_memory_used_bytes Memory in use.\n"
        "# TYPE llamaswap_memory_used_bytes gauge\n"
        "llamaswap_memory_used_bytes 4294967296\n"
        "# HELP llamaswap_memory_free_bytes Memory that is completely free.\n"
        "# TYPE llamaswap_memory_free_bytes gauge\n"
        "llamaswap_memory_free_bytes 104857600\n"
        "# HELP llamaswap_swap_total_bytes Size of swap.\n"
        "# TYPE llamaswap_swap_total_bytes gauge\n"
        "llamaswap_swap_total_bytes 2147483648\n"
        "# HELP llamaswap_swap_used_bytes Swap in use.\n"
        "# TYPE llamaswap_swap_used_bytes gauge\n"
        "llamaswap_swap_used_bytes 1048576\n"
        "# HELP llamaswap_load_average Load average.\n"
        "# TYPE llamaswap_load_average gauge\n"
        'llamaswap_load_average{interval="1m"} 0.61\n'
        'llamaswap_load_average{interval="5m"} 0.5\n'
        'llamaswap_load_average{interval="15m"} 12\n'
        "# HELP llamaswap_network_bytes_total Bytes since boot, by interface.\n"
        "# TYPE llamaswap_network_bytes_total counter\n"
        'llamaswap_network_bytes_total{interface="eth0",direction="recv"} 912334455\n'
        'llamaswap_network_bytes_total{interface="eth0",direction="sent"} 88123456\n'
    )


def test_a_card_as_text() -> None:
    text = exposition(gpu_families([L40S]))
    labels = '{id="0",name="NVIDIA L40S",uuid="GPU-1"}'
    assert [line for line in text.splitlines() if not line.startswith("#")] == [
        f"llamaswap_gpu_temperature_celsius{labels} 51",
        f"llamaswap_gpu_vram_temperature_celsius{labels} 58",
        f"llamaswap_gpu_util_percent{labels} 37",
        f"llamaswap_gpu_memory_util_percent{labels} {8192 / 46068 * 100!r}",
        f"llamaswap_gpu_memory_used_bytes{labels} 8589934592",
        f"llamaswap_gpu_memory_total_bytes{labels} 48305799168",
        f"llamaswap_gpu_fan_speed_percent{labels} 40",
        f"llamaswap_gpu_power_draw_watts{labels} 96.4",
    ]


def test_a_card_with_an_awkward_name_and_no_uuid() -> None:
    text = exposition(gpu_families([GpuReading(id=3, name='A "b"\\c\n')]))
    assert 'llamaswap_gpu_util_percent{id="3",name="A \\"b\\"\\\\c\\n"} 0\n' in text
    assert "uuid" not in text
    assert parsed(text)[of("llamaswap_gpu_util_percent", id="3", name='A "b"\\c\n')] == 0


def test_cards_are_sorted_and_of_the_newest_snapshot() -> None:
    watched = monitor(SAMPLE, [evolve(L40S, id=i) for i in (2, 0, 1)])
    watched.newest_gpus = GpuSnapshot(now(), [evolve(L40S, id=i, temp_c=60) for i in (2, 0, 1)])
    found = re.findall(r'gpu_temperature_celsius\{id="(\d)".*\} (\d+)', text_of(watched))
    assert found == [("0", "60"), ("1", "60"), ("2", "60")]


def test_without_interfaces_their_family_is_absent() -> None:
    assert "network" not in exposition(host_families(evolve(SAMPLE, network=())))


def test_before_the_first_sample_the_machine_says_nothing() -> None:
    assert exposition(host_families(None)) == exposition(gpu_families(())) == ""
    names = {name for name, _ in parsed(text_of(monitor()))}
    assert names == {"llamaswap_build_info", "llamaswap_log_dropped_bytes_total"}


@pytest.mark.parametrize(("age", "shown"), [(0, True), (29, True), (600, False)])
def test_a_dead_source_has_no_figures(age: float, shown: bool) -> None:
    assert ("gpu_util_percent" in text_of(monitor(SAMPLE, [L40S], age))) is shown


def test_prometheus_own_parser_reads_all_of_it() -> None:
    families = list(text_string_to_metric_families(full()))
    assert len(families) == len({family.name for family in families}) > 25
    assert all(family.samples and family.documentation for family in families)
    assert all(family.type in ("gauge", "counter", "histogram") for family in families)


# --- ours -----------------------------------------------------------------------------------------


def test_requests_tokens_swaps_loads_and_stops_are_counted() -> None:
    found = parsed(full())
    expected = {
        of("llamaswap_requests_total", model="m", code="200"): 1,
        of("llamaswap_queued_requests", model="m"): 1,
        of("llamaswap_inflight_requests", model="m"): 1,
        of("llamaswap_tokens_total", model="m", kind="input"): 12,
        of("llamaswap_tokens_total", model="m", kind="cached"): 4,
        of("llamaswap_tokens_total", model="m", kind="output"): 7,
        of("llamaswap_swaps_total", model="m", reason="evict"): 1,
        of("llamaswap_model_stops_total", model="m", reason="ttl"): 1,
        of("llamaswap_model_stops_total", model="n", reason="exit"): 1,
        of("llamaswap_model_failed_loads_total", model="n"): 1,
        of("llamaswap_model_load_seconds_count", model="m"): 1,
        of("llamaswap_request_wait_seconds_count", model="m"): 2,
        of("llamaswap_request_duration_seconds_count", model="m"): 1,
        of("llamaswap_model_state", model="n", state="ready"): 1,
        of("llamaswap_model_state", model="m", state="ready"): 0,
        of("llamaswap_model_state", model="m", state="stopped"): 1,
        of("llamaswap_model_vram_bytes", model="m"): 4000 << 20,
        of("llamaswap_model_resident_bytes", model="m"): 300 << 20,
    }
    assert {key: found[key] for key in expected} == expected


def test_a_request_counts_once_however_it_ends() -> None:
    counters = Counters(nothing_offered)
    left, refused, cut = begun(counters), begun(counters), begun(counters)
    left.finish(Outcome.LEFT)
    left.finish(Outcome.LEFT)
    refused.finish(Outcome.REFUSED, TooManyRequests("busy"))
    cut.granted(1, "/", b"")
    cut.status = 200
    cut.finish(Outcome.CUT)
    assert counters.requests == {("m", 499): 1, ("m", 429): 1, ("m", 200): 1}
    assert counters.under_way == {}
    assert not counters.queued()
    assert not counters.inflight()


def test_waiting_ends_with_the_grant_and_is_measured() -> None:
    counters = Counters(nothing_offered)
    observation = begun(counters)
    assert counters.queued() == {"m": 1}
    observation.granted_at = 103.5
    counters.granted(observation)
    assert counters.waits["m"].total == 3.5
    assert (counters.queued(), counters.inflight()) == ({}, {"m": 1})
    observation.finish(Outcome.LEFT)


def test_loading_is_measured_from_start_to_ready() -> None:
    moments = iter((10.0, 17.25))
    counters = Counters(nothing_offered, clock=lambda: next(moments))
    counters.state_changed("m", "starting", "")
    counters.state_changed("m", "ready", "")
    counters.state_changed("m", "stopping", "")
    counters.state_changed("m", "stopped", "evict")
    assert counters.loads["m"].total == 7.25
    assert (counters.failed_loads, counters.stops) == ({}, {("m", "evict"): 1})


def test_names_clients_invent_are_one_label() -> None:
    counters = Counters(lambda name: name == "solo")
    for model, local in (("x1", False), ("x2", False), ("solo", False), ("m", True)):
        begun(counters, model, local=local).finish(Outcome.REFUSED)
    assert counters.requests == {("(other)", 499): 2, ("solo", 499): 1, ("m", 499): 1}


def test_peers_models_are_known_plain_and_with_the_peers_name() -> None:
    config = Config(peers={"east": Peer(id="east", proxy="http://east:1", models=("solo",))})
    known = [offered_by_peer(config, name) for name in ("solo", "east/solo", "east/x", "x", "")]
    assert known == [True, True, False, False, False]


class Recorder:
    """An observer that notes what it sees."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def begin(self, observation: Observation) -> None:
        self.seen.append("begin")

    def granted(self, observation: Observation) -> None:
        self.seen.append("granted")

    def answered(self, observation: Observation) -> None:
        self.seen.append("answered")

    def overfull(self, observation: Observation) -> None:
        self.seen.append("overfull")

    def finished(self, observation: Observation, ending: Ending) -> None:
        self.seen.append("finished")


def test_the_books_see_what_the_counters_see() -> None:
    recorder, counters = Recorder(), Counters(nothing_offered)
    observation = begun(counters)
    observation.observer = CountingObserver(counters, recorder)
    observation.observer.begin(observation)
    observation.keep = True
    observation.granted(1, "/", b"")
    observation.head(200, (), framed=False)
    observation.take(bytes(70_000))
    observation.finish(Outcome.COMPLETE)
    assert recorder.seen == ["begin", "granted", "answered", "overfull", "finished"]


def test_without_books_no_body_is_kept() -> None:
    observation = begun(Counters(nothing_offered))
    observation.take(bytes(70_000))
    assert (observation.pieces, observation.size) == ([], 70_000)


def test_dropped_log_bytes_are_counted_by_source() -> None:
    hub = LogHub()
    with hub.proxy.follow(limit=4), hub.proxy.follow(limit=10):
        for _ in range(3):
            hub.write_proxy(b"12345")
    text = metrics(monitor(), Counters(nothing_offered), {}, hub)
    assert parsed(text)[of("llamaswap_log_dropped_bytes_total", source="proxy")] == 20


# --- the format -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (10.5, "10.5"),
        (20.0, "20"),
        (8589934592.0, "8589934592"),
        (1e21, "1000000000000000000000"),
        (0.1, "0.1"),
        (-3, "-3"),
        (1e-7, "1e-07"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
    ],
)
def test_figures_are_short_and_whole_ones_have_no_exponent(value: float, text: str) -> None:
    assert number_text(value) == text


@given(
    st.lists(
        st.tuples(st.text(max_size=20), st.floats(allow_nan=False)),
        unique_by=lambda pair: pair[0],
        max_size=8,
    )
)
def test_any_label_and_figure_reads_back(pairs: list[tuple[str, float]]) -> None:
    # the parser ends lines as str.split does not: only "\n" ends a line in the format
    family = Family("x", "gauge", "A\nhelp \\ text.", [((("l", k),), v) for k, v in pairs])
    assert parsed(exposition([family])) == {of("x", l=label): value for label, value in pairs}


@given(st.lists(st.floats(0, 1000), max_size=50))
def test_a_histogram_counts_every_figure_below_each_bound(values: list[float]) -> None:
    bounds = (0.5, 1, 10, 100)
    histogram = Histogram(bounds)
    for value in values:
        histogram.observe(value)
    found = parsed(exposition([HistogramFamily("h", "Help.", "model", {"m": histogram})]))
    for bound in bounds:
        below = found[of("h_bucket", model="m", le=number_text(bound))]
        assert below == sum(value <= bound for value in values)
    assert found[of("h_bucket", model="m", le="+Inf")] == len(values)
    assert found[of("h_count", model="m")] == len(values)
    assert found[of("h_sum", model="m")] == pytest.approx(sum(values))


# --- the dashboard --------------------------------------------------------------------------------


def panels() -> list[dict[str, Any]]:
    board = json.loads(DASHBOARD.read_text())
    return [panel for panel in board["panels"] if panel["type"] == "timeseries"]


def queries() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def test_the_dashboard_uses_only_metrics_and_labels_that_exist() -> None:
    exposed: dict[str, set[str]] = {}
    for name, labels in parsed(full()):
        exposed.setdefault(name, set()).update(label for label, _ in labels)
    assert len(queries()) > 20
    for query in queries():
        names = re.findall(r"llamaswap_\w+", query)
        assert names
        for name in names:
            assert name in exposed, query
        used = {
            label.strip()
            for group in re.findall(r"by \(([^)]*)\)", query)
            for label in group.split(",")
        }
        used |= set(re.findall(r"[{,](\w+)=", query)) - {"instance"}
        assert used <= exposed[names[0]], query
    for panel in panels():
        for target in panel["targets"]:
            [name, *_] = re.findall(r"llamaswap_\w+", target["expr"])
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= exposed[name]


def test_the_dashboard_keeps_to_one_instance_and_to_any_scrape_interval() -> None:
    board = json.loads(DASHBOARD.read_text())
    for query in queries():
        assert query.count('instance="$instance"') == len(re.findall(r"llamaswap_\w+", query))
        assert all(span == "$__rate_interval" for span in re.findall(r"\[([^\]]*)\]", query))
    [variable] = board["templating"]["list"]
    assert variable["definition"] == "label_values(llamaswap_memory_total_bytes, instance)"
    assert board["title"] == "llama-swap resource monitor"
    assert (board["refresh"], board["timezone"]) == ("10s", "browser")
    assert board["time"] == {"from": "now-15m", "to": "now"}


def test_the_dashboard_has_the_nine_panels_of_old() -> None:
    titles = [panel["title"] for panel in panels()]
    assert {
        "CPU Utilization",
        "Load Average",
        "RAM + Swap",
        "Network Bandwidth",
        "GPU Utilization",
        "GPU Memory Utilization",
        "GPU Temperature",
        "GPU Power Draw",
        "GPU Fan Speed",
    } <= set(titles)
    places = [tuple(panel["gridPos"].values()) for panel in panels()]
    assert len(set(places)) == len(places)
