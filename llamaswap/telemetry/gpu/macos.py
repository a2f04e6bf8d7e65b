"""Apple's graphics: `mactop`, a tool that must be installed, and `ioreg`, which is always there.

Source: telemetry §2.10.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import trio
from attrs import define, evolve, field

from llamaswap.telemetry.gpu.source import SourceFailed, number
from llamaswap.telemetry.gpu.tool import TalkingTool, find_tool, output_of
from llamaswap.telemetry.samples import MIB, GpuReading

IOREG = ("-r", "-c", "IOGPU", "-d", "1", "-f")
LIMIT = 5.0
UNNAMED = "Apple GPU"


def physical_memory() -> int:
    """Bytes of memory, which the graphics share."""
    import psutil

    return int(psutil.virtual_memory().total)


@define
class Ioreg:
    """The candidate, and the source."""

    name: str = "ioreg"
    total_memory: Callable[[], int] = physical_memory

    async def open(self, every: float, nursery: trio.Nursery) -> Ioreg:
        """Find the tool."""
        del every, nursery
        find_tool("ioreg")
        return self

    async def aclose(self) -> None:
        """Nothing is held."""

    async def read(self) -> Sequence[GpuReading]:
        """Run it once."""
        text = await output_of([find_tool("ioreg"), *IOREG], limit=LIMIT)
        reading = parse_ioreg(text, self.total_memory())
        if reading is None:
            raise SourceFailed("ioreg knows no graphics card")
        return [reading]


def parse_ioreg(text: str, total: int) -> GpuReading | None:
    """The card in the registry's text; None if it holds none. `total`: bytes of memory."""
    busy = re.search(r'"Device Utilization %"\s*=\s*(\d+)', text)
    used = re.search(r'"In use system memory"\s*=\s*(\d+)', text)
    if busy is None and used is None:
        return None
    model = re.search(r'"model"\s*=\s*"([^"]*)"', text)
    cores = re.search(r'"gpu-core-count"\s*=\s*(\d+)', text)
    return GpuReading(
        id=0,
        name=_with_cores(model[1] if model else "", int(cores[1]) if cores else 0),
        gpu_util_pct=float(busy[1]) if busy else None,
        mem_used_mb=int(used[1]) // MIB if used else None,
        mem_total_mb=total // MIB,
    )


def _with_cores(name: str, cores: int) -> str:
    return (name or UNNAMED) + (f" ({cores}-core GPU)" if cores > 0 else "")


@define
class Mactop:
    """The candidate."""

    name: str = "mactop"
    ioreg: Ioreg = field(factory=Ioreg)

    async def open(self, every: float, nursery: trio.Nursery) -> MactopSource:
        """Start the tool."""
        path = find_tool("mactop")
        interval = str(max(1000, int(every * 1000)))
        argv = [path, "--headless", "--format", "json", "--interval", interval]
        source = MactopSource(self.ioreg)
        source.tool = await TalkingTool.start(argv, source.take, source.end, nursery)
        return source


@define(eq=False)
class MactopSource:
    """The tool, running; one JSON object per line."""

    ioreg: Ioreg
    tool: TalkingTool | None = None
    _newest: GpuReading | None = None
    _over: str = ""
    _bell: trio.Event = field(factory=trio.Event)

    def take(self, line: str) -> None:
        """Take a line; one that is no JSON is ignored."""
        try:
            entry = msgspec.json.decode(line)
        except msgspec.DecodeError:
            return
        if isinstance(entry, dict):
            self._newest = parse_mactop(entry)
            self._bell.set()

    def end(self, reason: str) -> None:
        """The tool is gone."""
        self._over = reason
        self._bell.set()

    async def aclose(self) -> None:
        """Kill the tool."""
        if self.tool is not None:
            await self.tool.aclose()

    async def read(self) -> Sequence[GpuReading]:
        """Return the newest line; its memory figures are the registry's, if that answers."""
        while self._newest is None:
            if self._over:
                raise SourceFailed(self._over)
            self._bell = trio.Event()
            await self._bell.wait()
        reading, self._newest = self._newest, None
        try:
            [other] = await self.ioreg.read()
        except SourceFailed:
            return [reading]
        if other.mem_used_mb is None:
            return [reading]
        return [evolve(reading, mem_used_mb=other.mem_used_mb, mem_total_mb=other.mem_total_mb)]


def parse_mactop(entry: Mapping[str, Any]) -> GpuReading:
    """Translate one object of `mactop`; any field may be missing."""
    system, chip, memory = (
        _mapping(entry.get(key)) for key in ("system_info", "soc_metrics", "memory")
    )
    cores = number(system.get("gpu_core_count")) or 0
    return GpuReading(
        id=0,
        name=_with_cores(str(system.get("name") or ""), int(cores)),
        temp_c=_rounded(chip.get("gpu_temp")),
        vram_temp_c=_memory_temperature(entry.get("temperatures")),
        gpu_util_pct=number(entry.get("gpu_usage")),
        mem_used_mb=_mib(memory.get("used")),
        mem_total_mb=_mib(memory.get("total")),
        fan_speed_pct=_fans(entry.get("fans")),
        power_draw_w=number(chip.get("gpu_power")),
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _mib(value: Any) -> int | None:
    count = number(value)
    return None if count is None else int(count) // MIB


def _rounded(value: Any) -> int | None:
    figure = number(value)
    return None if figure is None else math.floor(figure + 0.5)


def _memory_temperature(entries: Any) -> int | None:
    for entry in entries if isinstance(entries, list) else []:
        if str(_mapping(entry).get("group", "")).lower() == "memory":
            return _rounded(entry.get("avg_celsius"))
    return None


def _fans(entries: Any) -> float | None:
    """The mean over all fans of how far each is between its slowest and its fastest."""
    shares = []
    for entry in entries if isinstance(entries, list) else []:
        fan = _mapping(entry)
        speed, least, most = (number(fan.get(key)) for key in ("rpm", "min_rpm", "max_rpm"))
        if speed is not None and most is not None and most > (least or 0):
            shares.append(max(0.0, (speed - (least or 0)) / (most - (least or 0)) * 100))
    return sum(shares) / len(shares) if shares else None
