"""Find out which sources of graphics card figures work on this machine.

A source is usable when it has told of at least one card; that its tool is installed is not enough.
Source: telemetry §2.5.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import trio
from attrs import define, evolve, frozen

from llamaswap.telemetry.gpu.lact import Lact
from llamaswap.telemetry.gpu.macos import Ioreg, Mactop
from llamaswap.telemetry.gpu.nvidia_smi import NvidiaSmi
from llamaswap.telemetry.gpu.nvml import Nvml
from llamaswap.telemetry.gpu.rocm_smi import RocmSmi
from llamaswap.telemetry.gpu.source import Candidate, GpuSource, SourceFailed
from llamaswap.telemetry.samples import GpuReading

logger = logging.getLogger(__name__)

PROBE_LIMIT = 5.0
READ_LIMIT = 5.0


@frozen
class Plan:
    """Which sources to try, in which order."""

    whole: Sequence[Candidate] = ()
    """Each of these sees every card; the first that works is enough."""
    vendors: Sequence[Sequence[Candidate]] = ()
    """Without one of those: by vendor, the first that works of each, side by side."""


def plan_for(platform: str = sys.platform) -> Plan:
    """The plan of an operating system, named as Python does."""
    if platform == "darwin":
        return Plan(whole=(Mactop(), Ioreg()))
    if platform == "win32":
        return Plan(vendors=((Nvml(), NvidiaSmi()),))
    return Plan(whole=(Lact(),), vendors=((Nvml(), NvidiaSmi()), (RocmSmi(),)))


@define(eq=False)
class Part:
    """A source in use."""

    name: str
    source: GpuSource
    first_id: int
    """Added to the ids of its cards, so that two vendors' cards have different ones."""
    probe: Sequence[GpuReading]
    failures: int = 0
    """Readings that failed in a row."""
    reason: str = ""

    async def read(self) -> Sequence[GpuReading]:
        """Its cards as they are now; none if it could not tell, which is counted."""
        try:
            with trio.fail_after(READ_LIMIT):
                readings = await self.source.read()
        except Exception as exc:  # noqa: BLE001  # a driver may raise anything; it costs its figures
            self.failures += 1
            self.reason = _reason(self.name, exc, READ_LIMIT)
            logger.debug("GPU figures skipped: %s", self.reason)
            return ()
        self.failures = 0
        return self._numbered(readings)

    def first_readings(self) -> Sequence[GpuReading]:
        """What the probe told."""
        return self._numbered(self.probe)

    def _numbered(self, readings: Sequence[GpuReading]) -> Sequence[GpuReading]:
        if not self.first_id:
            return readings
        return [evolve(reading, id=reading.id + self.first_id) for reading in readings]


@define(eq=False)
class Search:
    """One look at all candidates."""

    plan: Plan
    every: float
    nursery: trio.Nursery
    rejected: dict[str, str]
    """Why what was rejected before was rejected; a reason is logged when it is new."""

    async def run(self) -> list[Part]:
        """The sources to use, open; close them afterwards. Empty: there is none."""
        found: list[Part] = []
        for candidate in self.plan.whole:
            if await self._try(candidate, found):
                return found
        for vendor in self.plan.vendors:
            for candidate in vendor:
                if await self._try(candidate, found):
                    break
        return found

    async def _try(self, candidate: Candidate, found: list[Part]) -> bool:
        source: GpuSource | None = None
        usable = False
        reason = f"{candidate.name} did not answer within {PROBE_LIMIT:g} s"
        try:
            with trio.move_on_after(PROBE_LIMIT):
                source = await candidate.open(self.every, self.nursery)
                readings = await source.read()
                usable = bool(readings)
                reason = f"{candidate.name} knows no card"
        except Exception as exc:  # noqa: BLE001  # a driver may raise anything; then it is no use
            reason = _reason(candidate.name, exc, PROBE_LIMIT)
        finally:
            if source is not None and not usable:
                await source.aclose()
        if source is None or not usable:
            self._reject(candidate.name, reason)
            return False
        self.rejected.pop(candidate.name, None)
        ids = [reading.id for part in found for reading in part.first_readings()]
        found.append(Part(candidate.name, source, max(ids, default=-1) + 1, readings))
        return True

    def _reject(self, name: str, reason: str) -> None:
        if self.rejected.get(name) != reason:
            logger.debug("no GPU figures from %s: %s", name, reason)
        self.rejected[name] = reason


def _reason(name: str, error: Exception, limit: float) -> str:
    match error:
        case SourceFailed():
            return str(error)
        case trio.TooSlowError():
            return f"{name} did not answer within {limit:g} s"
        case _:
            return f"{name} raised {error!r}"
