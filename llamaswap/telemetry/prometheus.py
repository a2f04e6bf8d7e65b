"""Everything `/metrics` tells: the machine as llama-swap tells it, and what we count ourselves.

Source: telemetry §3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from llamaswap.telemetry.counters import Counters
from llamaswap.telemetry.exposition import Family, HistogramFamily, Labels, exposition
from llamaswap.telemetry.loghub import LogHub
from llamaswap.telemetry.sampler import Monitor
from llamaswap.telemetry.samples import MIB, GpuReading, SystemSample
from llamaswap.version import VERSION

STATES = ("stopped", "starting", "ready", "stopping", "shutdown")

GPU_FAMILIES: tuple[tuple[str, str, Callable[[GpuReading], float]], ...] = (
    ("temperature_celsius", "Core temperature.", lambda g: g.temp_c or 0),
    ("vram_temperature_celsius", "Memory temperature; 0: unknown.", lambda g: g.vram_temp_c or 0),
    ("util_percent", "Share of time that it computed.", lambda g: g.gpu_util_pct or 0),
    ("memory_util_percent", "Share of its memory in use.", lambda g: g.mem_util_pct),
    ("memory_used_bytes", "Memory in use.", lambda g: (g.mem_used_mb or 0) * MIB),
    ("memory_total_bytes", "Size of its memory.", lambda g: (g.mem_total_mb or 0) * MIB),
    ("fan_speed_percent", "Fan speed.", lambda g: g.fan_speed_pct or 0),
    ("power_draw_watts", "Power it draws.", lambda g: g.power_draw_w or 0),
)
MEMORY_FAMILIES: tuple[tuple[str, str, Callable[[SystemSample], int]], ...] = (
    ("memory_total_bytes", "Size of memory.", lambda s: s.mem_total_mb),
    ("memory_used_bytes", "Memory in use.", lambda s: s.mem_used_mb),
    ("memory_free_bytes", "Memory that is completely free.", lambda s: s.mem_free_mb),
    ("swap_total_bytes", "Size of swap.", lambda s: s.swap_total_mb),
    ("swap_used_bytes", "Swap in use.", lambda s: s.swap_used_mb),
)


def metrics(monitor: Monitor, counters: Counters, states: Mapping[str, str], hub: LogHub) -> str:
    """The whole text. `states`: of every configured local model, as clients see it."""
    return exposition(
        [
            *host_families(monitor.newest_system),
            *gpu_families(monitor.fresh_gpus()),
            *model_memory_families(monitor),
            *request_families(counters),
            *model_families(counters, states),
            *program_families(monitor, hub),
        ]
    )


def host_families(sample: SystemSample | None) -> Iterator[Family]:
    """The machine; nothing before the first sample."""
    if sample is None:
        return
    cores = [((("core", str(i)),), percent) for i, percent in enumerate(sample.cpu_util_per_core)]
    yield _gauge("cpu_util_percent", "Busy share of one logical processor.", cores)
    for name, text, read in MEMORY_FAMILIES:
        yield _gauge(name, text, [((), read(sample) * MIB)])
    loads = zip(("1m", "5m", "15m"), sample.load, strict=True)
    yield _gauge(
        "load_average", "Load average.", [((("interval", span),), load) for span, load in loads]
    )
    yield _counter(
        "network_bytes_total",
        "Bytes since boot, by interface.",
        [
            ((("interface", net.name), ("direction", direction)), count)
            for net in sample.network
            for direction, count in (("recv", net.bytes_recv), ("sent", net.bytes_sent))
        ],
    )


def gpu_families(readings: Sequence[GpuReading]) -> Iterator[Family]:
    """The graphics cards of the newest snapshot, by id."""
    cards = sorted(readings, key=lambda reading: reading.id)
    for name, text, read in GPU_FAMILIES:
        yield _gauge(f"gpu_{name}", text, [(_gpu_labels(card), read(card)) for card in cards])


def _gpu_labels(card: GpuReading) -> Labels:
    uuid = (("uuid", card.uuid),) if card.uuid else ()
    return (("id", str(card.id)), ("name", card.name), *uuid)


def model_memory_families(monitor: Monitor) -> Iterator[Family]:
    """What the processes of running models hold, where that is known."""
    yield _gauge(
        "model_resident_bytes",
        "Memory the processes of a model hold.",
        [(_model(entry.model), entry.rss_mb * MIB) for entry in monitor.models],
    )
    yield _gauge(
        "model_vram_bytes",
        "Memory of graphics cards the processes of a model hold.",
        [
            (_model(entry.model), entry.vram_mb * MIB)
            for entry in monitor.models
            if entry.vram_mb is not None
        ],
    )


def request_families(counters: Counters) -> Iterator[Family | HistogramFamily]:
    """Requests that name a model."""
    yield _counter(
        "requests_total",
        "Requests that are over, by the status the client saw.",
        [
            ((("model", model), ("code", str(code))), count)
            for (model, code), count in sorted(counters.requests.items())
        ],
    )
    yield _gauge(
        "inflight_requests", "Requests that hold their model.", _by_model(counters.inflight())
    )
    yield _gauge(
        "queued_requests", "Requests that wait for their model.", _by_model(counters.queued())
    )
    yield HistogramFamily(
        "llamaswap_request_wait_seconds",
        "Time from a request's arrival until its model was granted.",
        "model",
        counters.waits,
    )
    yield HistogramFamily(
        "llamaswap_request_duration_seconds",
        "Time from a request's arrival to the end of its answer.",
        "model",
        counters.durations,
    )
    yield _counter(
        "tokens_total",
        "Tokens as model servers told them.",
        [
            ((("model", model), ("kind", kind)), count)
            for (model, kind), count in sorted(counters.tokens.items())
        ],
    )


def model_families(
    counters: Counters, states: Mapping[str, str]
) -> Iterator[Family | HistogramFamily]:
    """Local models and their processes."""
    yield _gauge(
        "model_state",
        "1 for the state a model is in.",
        [
            ((("model", model), ("state", state)), int(state == now))
            for model, now in sorted(states.items())
            for state in STATES
        ],
    )
    yield _counter(
        "swaps_total",
        "Decisions to load a model, by whether others had to stop for it.",
        _by_reason(counters.swaps),
    )
    yield HistogramFamily(
        "llamaswap_model_load_seconds",
        "Time from the start of a model's process until it was ready.",
        "model",
        counters.loads,
    )
    yield _counter(
        "model_failed_loads_total",
        "Starts of a model that did not become ready.",
        _by_model(counters.failed_loads),
    )
    yield _counter(
        "model_stops_total", "Ends of a model's process, by why.", _by_reason(counters.stops)
    )


def program_families(monitor: Monitor, hub: LogHub) -> Iterator[Family]:
    """The program itself."""
    yield _gauge("build_info", "Which program this is.", [((("version", VERSION),), 1)])
    newest = (("sys", monitor.newest_system), ("gpu", monitor.newest_gpus))
    yield _gauge(
        "perf_last_sample_timestamp_seconds",
        "When the newest sample was taken.",
        [((("series", name),), s.at.timestamp()) for name, s in newest if s is not None],
    )
    yield _counter(
        "log_dropped_bytes_total",
        "Log bytes that readers were too slow for.",
        [((("source", source.name),), source.dropped) for source in hub.sources()],
    )


def _gauge(name: str, text: str, samples: Sequence[tuple[Labels, float]]) -> Family:
    return Family(f"llamaswap_{name}", "gauge", text, samples)


def _counter(name: str, text: str, samples: Sequence[tuple[Labels, float]]) -> Family:
    return Family(f"llamaswap_{name}", "counter", text, samples)


def _model(name: str) -> Labels:
    return (("model", name),)


def _by_model(counts: Mapping[str, int]) -> list[tuple[Labels, float]]:
    return [(_model(model), count) for model, count in sorted(counts.items())]


def _by_reason(counts: Mapping[tuple[str, str], int]) -> list[tuple[Labels, float]]:
    return [
        ((("model", model), ("reason", reason)), count)
        for (model, reason), count in sorted(counts.items())
    ]
