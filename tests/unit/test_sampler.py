"""Cases T47-T54 and T74 of telemetry §9: series, settings, sources that come and go."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from attrs import define, evolve, field

from llamaswap.config.schema import Performance
from llamaswap.telemetry.bus import EventBus
from llamaswap.telemetry.gpu.search import Plan
from llamaswap.telemetry.gpu.source import SourceFailed
from llamaswap.telemetry.sampler import Monitor, PerformanceSampled, Series
from llamaswap.telemetry.samples import (
    GpuReading,
    GpuSnapshot,
    ModelMemory,
    NetworkCounter,
    SystemSample,
    now,
)

SAMPLE = SystemSample(
    at=now(), cpu_util_per_core=(10.5, 20), mem_total_mb=8192, mem_used_mb=1, mem_free_mb=2
)


@define(eq=False)
class ScriptedReader:
    """A machine that answers at once, until it hangs or raises."""

    error: Exception | None = None
    hang: bool = False
    primed: int = 0

    async def prime(self) -> None:
        self.primed += 1
        if self.error is not None:
            raise self.error

    async def read(self) -> SystemSample:
        if self.error is not None:
            raise self.error
        if self.hang:
            await trio.sleep(60)
        await trio.lowlevel.checkpoint()
        return evolve(SAMPLE, at=now())

    async def memory_of(
        self, leaders: Mapping[int, str], readings: Sequence[GpuReading]
    ) -> Sequence[ModelMemory]:
        return [
            ModelMemory(model=model, rss_mb=pid, vram_mb=len(readings))
            for pid, model in leaders.items()
        ]


@define(eq=False)
class ScriptedSource:
    """A candidate, and the source: does at each reading what `script` says."""

    name: str
    script: Callable[[int], Sequence[GpuReading]]
    hang: Callable[[int], bool] = lambda reading: False
    readings: int = 0
    opened: int = 0
    open_now: int = 0
    moments: list[float] = field(factory=list)

    async def open(self, every: float, nursery: trio.Nursery) -> ScriptedSource:
        self.opened += 1
        self.open_now += 1
        return self

    async def read(self) -> Sequence[GpuReading]:
        number, self.readings = self.readings, self.readings + 1
        self.moments.append(trio.current_time())
        if self.hang(number):
            await trio.sleep(60)
        return self.script(number)

    async def aclose(self) -> None:
        self.open_now -= 1


def cards(*ids: int) -> Callable[[int], Sequence[GpuReading]]:
    return lambda number: [GpuReading(id=i, name=f"card {i}", temp_c=number) for i in ids]


def fails(number: int) -> Sequence[GpuReading]:
    raise SourceFailed(f"no driver ({number})")


def monitor(
    *whole: ScriptedSource,
    vendors: Sequence[Sequence[ScriptedSource]] = (),
    reader: ScriptedReader | None = None,
    settings: Performance | None = None,
    bus: EventBus | None = None,
) -> Monitor:
    return Monitor(
        settings or Performance(),
        bus or EventBus(),
        plan=Plan(whole, vendors),
        reader=reader or ScriptedReader(),
    )


def temperatures(watched: Monitor) -> list[int]:
    return [entry["temp_c"] for entry in listed(watched.gpus)]


def listed(series: Series) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = msgspec.json.decode(b"[%b]" % series.since(None))
    return found


@pytest.mark.parametrize(
    ("every", "kept"), [(5.0, 720), (15.0, 240), (3600.0, 1), (7200.0, 1), (7.0, 514)]
)
def test_an_hour_is_kept_and_the_newest_in_order(every: float, kept: int) -> None:
    series = Series()
    series.resize(every)
    start = now()
    for number in range(800):
        series.add(start + timedelta(seconds=number), b"%d" % number)
    assert series.since(None).split(b",") == [b"%d" % n for n in range(800 - kept, 800)]


def test_what_is_asked_for_after_a_moment_is_strictly_younger() -> None:
    series = Series()
    series.resize(5)
    start = now()
    for number in range(3):
        series.add(start + timedelta(microseconds=number), b"%d" % number)
    assert series.since(start + timedelta(microseconds=1)) == b"2"
    assert series.since(start + timedelta(microseconds=2)) == b""


def test_a_sample_is_written_as_clients_read_it() -> None:
    sample = evolve(
        SAMPLE, load=(0.61, 0.48, 0.4), network=[NetworkCounter("eth0", 5, 6)], swap_total_mb=7
    )
    text = sample.encoded()
    assert msgspec.json.decode(text) == {
        "timestamp": SAMPLE.at.isoformat(timespec="microseconds"),
        "cpu_util_per_core": [10.5, 20],
        "mem_total_mb": 8192,
        "mem_used_mb": 1,
        "mem_free_mb": 2,
        "swap_total_mb": 7,
        "swap_used_mb": 0,
        "load_avg_1": 0.61,
        "load_avg_5": 0.48,
        "load_avg_15": 0.4,
        "net_io": [{"name": "eth0", "bytes_recv": 5, "bytes_sent": 6}],
    }


async def test_the_first_sample_comes_within_a_second_then_one_at_each_interval(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    source = ScriptedSource("LACT", cards(0))
    watched = monitor(source)
    nursery.start_soon(watched.run)
    await trio.sleep(1)
    assert (len(watched.system), len(watched.gpus)) == (1, 1)
    await trio.sleep(20)
    assert (len(watched.system), len(watched.gpus)) == (5, 5)
    assert source.moments == [0, 5, 10, 15, 20]


async def test_without_a_source_it_is_said_once_and_the_machine_is_sampled_all_the_same(
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    broken = ScriptedSource("nvidia-smi", fails)
    watched = monitor(vendors=[[broken]])
    nursery.start_soon(watched.run)
    await trio.sleep(3600)
    said = [r for r in caplog.records if "not available" in r.message]
    assert [r.levelname for r in said] == ["INFO"]
    assert "no driver (0)" in said[0].message
    assert listed(watched.gpus) == []
    assert len(watched.system) == 720
    assert 12 < broken.opened < 25  # looked for again, ever more rarely
    assert broken.open_now == 0


async def test_a_source_that_hangs_at_first_delays_only_itself(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    stuck = ScriptedSource("NVML", cards(0), hang=lambda number: True)
    other = ScriptedSource("nvidia-smi", cards(0))
    watched = monitor(vendors=[[stuck, other]])
    nursery.start_soon(watched.run)
    await trio.sleep(1)
    assert len(watched.system) == 1
    await trio.sleep(5)
    assert watched.gpu_sources == ("nvidia-smi",)
    assert watched.rejected == {"NVML": "NVML did not answer within 5 s"}
    assert stuck.open_now == 0


async def test_two_vendors_stand_side_by_side_with_ids_of_their_own(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    nvidia, amd = ScriptedSource("NVML", cards(0, 1)), ScriptedSource("rocm-smi", cards(0, 1))
    watched = monitor(
        ScriptedSource("LACT", fails), vendors=[[nvidia, ScriptedSource("x", cards(9))], [amd]]
    )
    nursery.start_soon(watched.run)
    await trio.sleep(6)
    assert watched.gpu_sources == ("NVML", "rocm-smi")
    entries = listed(watched.gpus)
    assert [(e["id"], e["name"]) for e in entries[4:]] == [
        (0, "card 0"),
        (1, "card 1"),
        (2, "card 0"),
        (3, "card 1"),
    ]
    assert len({str(e["timestamp"]) for e in entries[4:]}) == 1


async def test_one_source_for_all_cards_is_enough(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    vendor = ScriptedSource("NVML", cards(0))
    watched = monitor(ScriptedSource("LACT", cards(0)), vendors=[[vendor]])
    nursery.start_soon(watched.run)
    await trio.sleep(6)
    assert (watched.gpu_sources, vendor.opened) == (("LACT",), 0)


async def test_a_failed_tick_is_skipped_and_the_source_kept(
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = ScriptedSource("LACT", lambda n: fails(n) if n in (1, 2, 4) else cards(0)(n))
    watched = monitor(source)
    nursery.start_soon(watched.run)
    await trio.sleep(26)
    assert temperatures(watched) == [0, 3, 5]
    assert source.opened == 1
    assert not [r for r in caplog.records if r.levelname == "WARNING"]


@pytest.mark.parametrize("how", ["fails", "hangs", "raises"])
async def test_a_source_that_is_lost_is_looked_for_again_with_one_warning(
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
    how: str,
) -> None:
    caplog.set_level(logging.INFO)

    def script(number: int) -> Sequence[GpuReading]:
        if how != "hangs" and 5 <= number < 10:
            raise SourceFailed("gone") if how == "fails" else RuntimeError("driver bug")
        return cards(0)(number)

    source = ScriptedSource("NVML", script, hang=lambda n: how == "hangs" and 5 <= n < 10)
    watched = monitor(source)
    nursery.start_soon(watched.run)
    await trio.sleep(300)
    warnings = [r.message for r in caplog.records if r.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "NVML" in warnings[0]
    assert temperatures(watched)[:7] == [0, 1, 2, 3, 4, 10, 11]
    assert source.open_now == 1
    assert watched.gpu_sources == ("NVML",)
    assert len(watched.system) >= 59


async def test_a_card_that_vanishes_leaves_the_others(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    source = ScriptedSource("NVML", lambda n: cards(0, 1)(n) if n < 2 else cards(0)(n))
    watched = monitor(source)
    nursery.start_soon(watched.run)
    await trio.sleep(11)
    assert [reading.id for reading in watched.fresh_gpus()] == [0]


@pytest.mark.parametrize(("every", "age", "fresh"), [(5, 29, 1), (5, 31, 0), (60, 170, 1)])
def test_figures_of_a_dead_source_do_not_stay_for_ever(
    every: float, age: float, fresh: int
) -> None:
    watched = monitor(settings=Performance(every=every))
    watched.newest_gpus = GpuSnapshot(now() - timedelta(seconds=age), [GpuReading(id=0)])
    assert len(watched.fresh_gpus()) == fresh


@pytest.mark.parametrize("reader", [ScriptedReader(OSError("no /proc")), ScriptedReader(hang=True)])
async def test_a_machine_that_cannot_be_read_is_said_once_until_it_can(
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
    reader: ScriptedReader,
) -> None:
    source = ScriptedSource("LACT", cards(0))
    watched = monitor(source, reader=reader)
    nursery.start_soon(watched.run)
    await trio.sleep(61)
    # another test may have left the level where it lets more through
    assert [r.levelname for r in caplog.records if r.levelname != "INFO"] == ["ERROR"]
    assert len(watched.system) == 0
    assert len(watched.gpus) == 13
    reader.error, reader.hang = None, False
    await trio.sleep(20)
    assert len(watched.system) >= 2


async def test_settings_change_live_and_what_fits_is_kept(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    source = ScriptedSource("LACT", cards(0))
    watched = monitor(source)
    nursery.start_soon(watched.run)
    await trio.sleep(3600)
    assert len(watched.system) == 720
    newest = listed(watched.system)[-1]
    watched.apply(Performance(every=5.0))  # nothing has changed
    assert source.opened == 1
    watched.apply(Performance(every=1800.0))
    assert len(watched.system) == 2
    assert listed(watched.system)[-1] == newest
    await trio.sleep(1)
    assert source.opened == 2
    assert source.open_now == 1


async def test_switching_off_and_on_again(
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    source = ScriptedSource("LACT", cards(0))
    watched = monitor(source, settings=Performance(disabled=True))
    nursery.start_soon(watched.run)
    await trio.sleep(60)
    assert (watched.enabled, source.opened) == (False, 0)
    assert "performance monitoring is disabled" in caplog.text
    watched.apply(Performance())
    await trio.sleep(12)
    assert watched.enabled
    assert len(watched.system) == len(watched.gpus) == 3
    watched.apply(Performance(disabled=True))
    await trio.sleep(60)
    assert len(watched.system) == len(watched.gpus) == 0
    assert source.open_now == 0
    assert watched.newest_system is None


async def test_each_sample_is_told_with_what_is_new_of_the_cards_and_the_models(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    bus = EventBus()
    watched = monitor(ScriptedSource("LACT", cards(0, 1)), bus=bus)
    watched.leaders = lambda: {17: "m"}
    seen: list[PerformanceSampled] = []
    with bus.subscribe() as feed:
        nursery.start_soon(watched.run)
        for _ in range(3):
            event = await anext(feed)
            assert isinstance(event, PerformanceSampled)
            seen.append(event)
    told = [msgspec.json.decode(event.body) for event in seen]
    assert [[card["temp_c"] for card in event["gpu"]] for event in told] == [[0, 0], [1, 1], [2, 2]]
    assert [event["sys"]["timestamp"] for event in told] == [
        entry["timestamp"] for entry in listed(watched.system)
    ]
    model = {"model": "m", "rss_mb": 17, "vram_mb": 2, "vram_reason": ""}
    assert [event["models"] for event in told] == [[model]] * 3
