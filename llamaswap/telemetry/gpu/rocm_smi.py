"""`rocm-smi`, AMD's tool, run for each reading. Its columns are found by name.

Source: telemetry §2.9.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import trio
from attrs import define

from llamaswap.telemetry.gpu.source import SourceFailed, number, whole
from llamaswap.telemetry.gpu.tool import find_tool, output_of
from llamaswap.telemetry.samples import MIB, GpuReading

FLAGS = [
    "-i",
    "-P",
    "-t",
    "-f",
    "-u",
    "--showmemuse",
    "--showmeminfo",
    "vram",
    "--showproductname",
    "--csv",
]
LIMIT = 5.0
POWER = ("Average Graphics Package Power (W)", "Current Socket Graphics Package Power (W)")
CARD = re.compile(r"card(\d+)")


@define
class RocmSmi:
    """The candidate."""

    name: str = "rocm-smi"

    async def open(self, every: float, nursery: trio.Nursery) -> RocmTool:
        """Find the tool."""
        del every, nursery
        return RocmTool(find_tool("rocm-smi"))


@define
class RocmTool:
    """The tool, found."""

    path: str

    async def read(self) -> Sequence[GpuReading]:
        """Run it once."""
        readings = parse_table(await output_of([self.path, *FLAGS], limit=LIMIT))
        if not readings:
            raise SourceFailed("rocm-smi names no card")
        return readings

    async def aclose(self) -> None:
        """Nothing is held."""


def parse_table(text: str) -> Sequence[GpuReading]:
    """Every card in the tool's CSV; what is no row of a card is skipped."""
    return [reading for row in rows_of(text) if (reading := _reading(row)) is not None]


def rows_of(text: str) -> Sequence[Mapping[str, str]]:
    """Rows by column name; those before a header, or of another length, are left out."""
    header: list[str] = []
    rows = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if line.startswith("device,"):
            header = cells
        elif line.strip() and header and len(cells) == len(header):
            rows.append(dict(zip(header, cells, strict=True)))
    return rows


def _reading(row: Mapping[str, str]) -> GpuReading | None:
    card = CARD.fullmatch(row["device"])
    if card is None:
        return None
    power = next((row[name] for name in POWER if name in row), None)
    return GpuReading(
        id=int(card[1]),
        name=_name(row),
        uuid=row.get("GUID", ""),
        temp_c=whole(row.get("Temperature (Sensor edge) (C)")),
        vram_temp_c=whole(row.get("Temperature (Sensor memory) (C)")),
        gpu_util_pct=number(row.get("GPU use (%)")),
        mem_used_mb=_mib(row.get("VRAM Total Used Memory (B)")),
        mem_total_mb=_mib(row.get("VRAM Total Memory (B)")),
        fan_speed_pct=number(row.get("Fan speed (%)")),
        power_draw_w=number(power),
    )


def _mib(text: str | None) -> int | None:
    count = whole(text)
    return None if count is None else count // MIB


def _name(row: Mapping[str, str]) -> str:
    """`Radeon RX 7900 card0 (gfx1100)`, as far as the tool knows it."""
    for column in ("Card Series", "Device Name"):
        title = row.get(column, "")
        if title and title != "N/A":
            gfx = row.get("GFX Version", "")
            suffix = f" ({gfx})" if gfx and gfx != "N/A" else ""
            return f"{title} {row['device']}{suffix}"
    return row["device"]
