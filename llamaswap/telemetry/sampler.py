"""The performance monitor: measures the machine and its graphics cards at intervals.

Two series that do not wait for each other, one hour of each kept. Settings change live.
Source: telemetry §2.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec
import trio
from attrs import define, field, frozen

from llamaswap.config.schema import Performance
from llamaswap.telemetry import model_memory, system_stats
from llamaswap.telemetry.bus import BusEvent, EventBus
from llamaswap.telemetry.samples import (
    GpuReading,
    GpuSnapshot,
    ModelMemory,
    SystemSample,
    now,
)

if TYPE_CHECKING:
    from llamaswap.telemetry.gpu.search import Part, Plan

logger = logging.getLogger(__name__)

T = TypeVar("T")

RETENTION = 3600.0
FIRST_SAMPLE = 0.5
"""Seconds from the priming of the processor's counters to the first sample."""
READ_LIMIT = 5.0
STRIKES = 3
"""Readings in a row that a source of GPU figures may fail before others are looked for."""
PAUSE, LONGEST_PAUSE = 5.0, 300.0
"""Seconds before such a search; doubled each time it was in vain."""


@frozen
class PerformanceSampled(BusEvent):
    """Measured: everything that is new since the event before, as JSON."""

    system: bytes
    """An entry of `sys_stats`."""
    gpus: bytes = b""
    """Entries of `gpu_stats` with commas between them; often empty."""
    models: bytes = b""
    """Entries of `models`, like that."""

    @property
    def body(self) -> bytes:
        """`{"sys": {…}, "gpu": […], "models": […]}`."""
        return b'{"sys":%b,"gpu":[%b],"models":[%b]}' % (self.system, self.gpus, self.models)


@define(eq=False)
class Series:
    """The newest samples, each with its moment and already written as JSON."""

    _entries: deque[tuple[datetime, bytes]] = field(factory=lambda: deque(maxlen=1), init=False)

    def resize(self, every: float) -> None:
        """Keep an hour of samples `every` seconds apart, at least one; the newest stay."""
        self._entries = deque(self._entries, maxlen=max(1, int(RETENTION / every)))

    def add(self, at: datetime, body: bytes) -> None:
        """Append a sample; the oldest goes."""
        self._entries.append((at, body))

    def since(self, after: datetime | None) -> bytes:
        """All that is younger than `after`, oldest first, with commas between."""
        return b",".join(body for at, body in self._entries if after is None or at > after)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)


class SystemReader(Protocol):
    """Measures the machine; may take long, and is cancelled then."""

    async def prime(self) -> None:
        """Begin to count."""
        ...

    async def read(self) -> SystemSample:
        """Measure now. Raises whatever the operating system has against it."""
        ...

    async def memory_of(
        self, leaders: Mapping[int, str], readings: Sequence[GpuReading]
    ) -> Sequence[ModelMemory]:
        """What the processes of the models hold."""
        ...


@define(eq=False)
class PsutilReader:
    """The real one: one worker thread, so that a reading that hangs is joined by no second."""

    _meter: system_stats.CpuMeter = field(factory=system_stats.CpuMeter, init=False)
    _limiter: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(1), init=False)

    async def prime(self) -> None:
        """Begin to count."""
        await self._in_thread(self._meter.percent)

    async def read(self) -> SystemSample:
        """Measure now."""
        return await self._in_thread(partial(system_stats.read_system, self._meter))

    async def memory_of(
        self, leaders: Mapping[int, str], readings: Sequence[GpuReading]
    ) -> Sequence[ModelMemory]:
        """What the processes of the models hold."""
        return await self._in_thread(partial(model_memory.measure, leaders, readings))

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(
            function, limiter=self._limiter, abandon_on_cancel=True
        )


@define(eq=False)
class Monitor:
    """Samples while it runs. What it found is read from its attributes."""

    settings: Performance
    bus: EventBus
    leaders: Callable[[], Mapping[int, str]] = dict
    """The model of every running upstream by its process id."""
    plan: Plan | None = None
    """Where to look for figures of graphics cards; None: where this system has them."""
    reader: SystemReader = field(factory=PsutilReader)

    system: Series = field(factory=Series, init=False)
    gpus: Series = field(factory=Series, init=False)
    newest_system: SystemSample | None = field(default=None, init=False)
    newest_gpus: GpuSnapshot | None = field(default=None, init=False)
    models: Sequence[ModelMemory] = field(factory=tuple, init=False)
    """Memory of the models that ran at the newest system sample."""
    gpu_sources: Sequence[str] = field(factory=tuple, init=False)
    """Names of the sources in use."""
    rejected: dict[str, str] = field(factory=dict, init=False)
    """Why the other sources are not."""
    _unpublished: list[bytes] = field(factory=list, init=False)
    _changed: trio.Event = field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self._resize()

    @property
    def enabled(self) -> bool:
        """Whether it measures."""
        return not self.settings.disabled

    def fresh_gpus(self) -> Sequence[GpuReading]:
        """The newest snapshot's cards; none if it is so old that its source must be dead."""
        snapshot = self.newest_gpus
        limit = max(3 * self.settings.every, 30.0)
        if snapshot is None or (now() - snapshot.at).total_seconds() > limit:
            return ()
        return snapshot.readings

    def apply(self, settings: Performance) -> None:
        """Go on with these settings; samples that still fit are kept."""
        if settings == self.settings:
            return
        self.settings = settings
        self._resize()
        if settings.disabled:
            self._forget()
        self._changed.set()

    def _resize(self) -> None:
        for series in (self.system, self.gpus):
            series.resize(self.settings.every)

    def _forget(self) -> None:
        self.system.clear()
        self.gpus.clear()
        self.newest_system = self.newest_gpus = None
        self.models = self.gpu_sources = ()
        self.rejected = {}
        self._unpublished = []

    async def run(self) -> None:
        """Measure until cancelled; while disabled, wait to be enabled."""
        while True:
            self._changed = trio.Event()
            if self.settings.disabled:
                logger.info("performance monitoring is disabled")
                await self._changed.wait()
                continue
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._sample_system, name="system samples")
                nursery.start_soon(self._sample_gpus, name="GPU samples")
                await self._changed.wait()
                nursery.cancel_scope.cancel(reason="the settings have changed")
            if not self.enabled:
                self._forget()  # what was being measured meanwhile, too

    # --- the machine ------------------------------------------------------------------------------

    async def _sample_system(self) -> None:
        failing = False
        with trio.move_on_after(READ_LIMIT), suppress(Exception):  # the first sample will tell
            await self.reader.prime()
        ticks = _Ticks(self.settings.every, trio.current_time() + FIRST_SAMPLE)
        while True:
            await ticks.wait()
            reason = await self._take_system_sample()
            if reason and not failing:
                logger.error("cannot read system statistics: %s", reason)
            failing = bool(reason)

    async def _take_system_sample(self) -> str:
        """Take one sample; return why it failed, or nothing."""
        try:
            with trio.fail_after(READ_LIMIT):
                sample = await self.reader.read()
                self.models = await self.reader.memory_of(self.leaders(), self.fresh_gpus())
        except trio.TooSlowError:
            return f"no answer within {READ_LIMIT:g} s"
        except Exception as exc:  # noqa: BLE001  # psutil's, by platform; it costs this sample only
            return repr(exc)
        self.newest_system = sample
        body = sample.encoded()
        self.system.add(sample.at, body)
        gpus, self._unpublished = b",".join(self._unpublished), []
        self.bus.publish(PerformanceSampled(body, gpus, encoded_models(self.models)))
        return ""

    # --- graphics cards ---------------------------------------------------------------------------

    async def _sample_gpus(self) -> None:
        from llamaswap.telemetry.gpu.search import Search, plan_for  # needed when all else runs

        plan = self.plan or plan_for()
        pause = PAUSE
        told = False
        async with trio.open_nursery() as nursery:
            while True:
                parts = await Search(plan, self.settings.every, nursery, self.rejected).run()
                self.gpu_sources = tuple(part.name for part in parts)
                if parts:
                    if await self._follow(parts):
                        pause = PAUSE
                elif not told:
                    logger.info("GPU monitoring not available: %s", self.why_no_gpus())
                told = True
                await trio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def why_no_gpus(self) -> str:
        """The reasons of all sources that are no use here, as one line."""
        return "; ".join(dict.fromkeys(self.rejected.values()))

    async def _follow(self, parts: Sequence[Part]) -> bool:
        """Take snapshots until a source is lost; whether it went well before that."""
        names = " and ".join(part.name for part in parts)
        readings = [reading for part in parts for reading in part.first_readings()]
        logger.info("GPU monitoring by %s: %d found", names, len(readings))
        snapshots = 0
        try:
            ticks = _Ticks(self.settings.every, trio.current_time() + self.settings.every)
            while True:
                if readings:
                    self._keep(GpuSnapshot(now(), readings))
                    snapshots += 1
                lost = next((part for part in parts if part.failures >= STRIKES), None)
                if lost is not None:
                    logger.warning(
                        "GPU monitoring by %s has stopped: %s; looking for a source again",
                        lost.name,
                        lost.reason,
                    )
                    self.rejected[lost.name] = lost.reason
                    self.gpu_sources = ()
                    return snapshots > STRIKES
                await ticks.wait()
                readings = await _read_side_by_side(parts)
        finally:
            for part in parts:
                await part.source.aclose()  # shields itself, bounded

    def _keep(self, snapshot: GpuSnapshot) -> None:
        self.newest_gpus = snapshot
        body = snapshot.encoded()
        self.gpus.add(snapshot.at, body)
        self._unpublished = [*self._unpublished, body][-STRIKES:]


async def _read_side_by_side(parts: Sequence[Part]) -> list[GpuReading]:
    found: dict[str, Sequence[GpuReading]] = {}

    async def one(part: Part) -> None:
        found[part.name] = await part.read()

    async with trio.open_nursery() as nursery:
        for part in parts:
            nursery.start_soon(one, part)
    return [reading for part in parts for reading in found[part.name]]


def encoded_models(models: Sequence[ModelMemory]) -> bytes:
    """Entries of `models`, with commas between them."""
    return b",".join(msgspec.json.encode(model.fields()) for model in models)


@define
class _Ticks:
    """Moments `every` seconds apart. One that passes while the last is dealt with is skipped."""

    every: float
    next: float

    async def wait(self) -> None:
        """Wait for the next one."""
        await trio.sleep_until(self.next)
        late = trio.current_time() - self.next
        self.next += self.every * (1 + late // self.every)
