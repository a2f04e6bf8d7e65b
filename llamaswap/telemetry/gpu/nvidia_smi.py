"""`nvidia-smi` as a child that prints a round of lines again and again: where NVML is missing.

Source: telemetry §2.8.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio
from attrs import define, field

from llamaswap.telemetry.gpu.source import SourceFailed, number, whole
from llamaswap.telemetry.gpu.tool import TalkingTool, find_tool
from llamaswap.telemetry.samples import GpuReading

QUERY = (
    "index,name,uuid,temperature.gpu,utilization.gpu,memory.used,memory.total,fan.speed,power.draw"
)
COLUMNS = 9
SILENCE = 0.2
"""Seconds without a line that end a round."""


@define
class NvidiaSmi:
    """The candidate."""

    name: str = "nvidia-smi"

    async def open(self, every: float, nursery: trio.Nursery) -> Rounds:
        """Start the tool."""
        argv = [
            find_tool("nvidia-smi"),
            f"--query-gpu={QUERY}",
            "--format=csv,noheader,nounits",
            "--loop",  # with two dashes: drivers from 540 on know no other
            str(max(1, int(every))),
        ]
        rounds = Rounds()
        rounds.tool = await TalkingTool.start(argv, rounds.take, rounds.end, nursery)
        return rounds


@define(eq=False)
class Rounds:
    """Gathers lines to snapshots: a card's second line, or silence, ends a round."""

    tool: TalkingTool | None = None
    _pending: dict[int, GpuReading] = field(factory=dict, init=False)
    _complete: Sequence[GpuReading] = field(factory=tuple, init=False)
    """The newest whole round that nobody has read yet."""
    _over: str = field(default="", init=False)
    _bell: trio.Event = field(factory=trio.Event, init=False)

    def take(self, line: str) -> None:
        """Add a line."""
        reading = parse_line(line)
        if reading is None:
            return
        if reading.id in self._pending:
            self._close()
        self._pending[reading.id] = reading
        self._ring()

    def end(self, reason: str) -> None:
        """The tool is gone."""
        self._close()
        self._over = reason
        self._ring()

    async def aclose(self) -> None:
        """Kill the tool."""
        if self.tool is not None:
            await self.tool.aclose()

    async def read(self) -> Sequence[GpuReading]:
        """Return the newest round, waiting for one to be complete if there is none."""
        while not self._complete:
            if self._over:
                raise SourceFailed(self._over)
            await self._wait()
        complete, self._complete = self._complete, ()
        return complete

    async def _wait(self) -> None:
        """Wait for a line; with a round under way, for silence as well."""
        bell = self._bell = trio.Event()
        if not self._pending:
            await bell.wait()
            return
        with trio.move_on_after(SILENCE) as scope:
            await bell.wait()
        if scope.cancelled_caught:
            self._close()

    def _ring(self) -> None:
        self._bell.set()

    def _close(self) -> None:
        if self._pending:
            self._complete = tuple(self._pending[index] for index in sorted(self._pending))
            self._pending = {}


def parse_line(line: str) -> GpuReading | None:
    """One card from one line; None for a line that is none."""
    cells = [cell.strip() for cell in line.split(",")]
    index = whole(cells[0])
    if len(cells) < COLUMNS or index is None:
        return None
    return GpuReading(
        id=index,
        name=cells[1],
        uuid=cells[2],
        temp_c=whole(cells[3]),
        gpu_util_pct=number(cells[4]),
        mem_used_mb=whole(cells[5]),
        mem_total_mb=whole(cells[6]),
        fan_speed_pct=number(cells[7]),
        power_draw_w=number(cells[8]),
    )
