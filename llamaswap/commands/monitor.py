"""`monitor`: what can be measured on this machine, to find out why a figure is missing."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import msgspec
import trio
from rich.console import Console
from rich.table import Table
from rich.text import Text

from llamaswap.commands.arguments import Flag, Given, Line
from llamaswap.commands.connection import JSON
from llamaswap.commands.running import run_async
from llamaswap.telemetry.gpu.search import Part, Search, plan_for
from llamaswap.telemetry.sampler import PsutilReader
from llamaswap.telemetry.samples import GpuReading, SystemSample

LINE = Line(
    name="monitor",
    summary="Show what can be measured of this machine and its GPUs, and by which source.",
    flags=(
        Flag("stream", "", "go on until Ctrl-C"),
        Flag("t", "DURATION", "pause between two samples, 1s to 1h", default="1s"),
        JSON,
    ),
    details=(
        "The sources that were tried, and why they were of no use, stand on stderr.\n"
        "No GPU source is no error."
    ),
)
SHORTEST, LONGEST = 1.0, 3600.0
FIRST = 0.5
GPU_LIMIT = 5.0
"""Seconds to wait for the first figures of GPUs."""


def run(arguments: Sequence[str]) -> int:
    """Print one sample, or one after the other."""
    given = LINE.read(arguments)
    every = min(LONGEST, max(SHORTEST, given.seconds("t")))
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    logging.getLogger("llamaswap.telemetry").setLevel(logging.DEBUG)
    run_async(lambda: _show(given, every))
    return 0


async def _show(given: Given, every: float) -> None:
    reader = PsutilReader()
    await reader.prime()
    async with trio.open_nursery() as nursery:
        parts = await _search(every, nursery)
        await trio.sleep(FIRST)
        while True:
            gpus = [reading for part in parts for reading in await part.read()]
            _print(given, await reader.read(), gpus, [part.name for part in parts])
            if not given.on("stream"):
                break
            await trio.sleep(every)
        for part in parts:
            await part.source.aclose()
        nursery.cancel_scope.cancel(reason="shown")


async def _search(every: float, nursery: trio.Nursery) -> list[Part]:
    with trio.move_on_after(GPU_LIMIT):
        return await Search(plan_for(), every, nursery, {}).run()
    logging.getLogger(__name__).warning("no source of GPU figures within %g s", GPU_LIMIT)
    return []


def _print(
    given: Given, system: SystemSample, gpus: Sequence[GpuReading], sources: Sequence[str]
) -> None:
    if given.on("json"):
        told = {
            "system": msgspec.json.decode(system.encoded()),
            "gpus": [reading.fields() for reading in gpus],
            "gpu_sources": list(sources),
        }
        sys.stdout.write(msgspec.json.encode(told).decode() + "\n")
        sys.stdout.flush()
        return
    console = Console(highlight=False)
    console.print(_system(system))
    console.print(_gpus(gpus) if gpus else Text("no GPU can be measured here", style="dim"))
    sys.stdout.flush()


def _system(sample: SystemSample) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    busy = " ".join(f"{share:.0f}" for share in sample.cpu_util_per_core)
    table.add_row("cores, % busy", busy)
    table.add_row("load", " ".join(f"{value:.2f}" for value in sample.load))
    table.add_row("memory, MiB", f"{sample.mem_used_mb} of {sample.mem_total_mb} used")
    table.add_row("swap, MiB", f"{sample.swap_used_mb} of {sample.swap_total_mb} used")
    return table


def _gpus(gpus: Sequence[GpuReading]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("GPU", "MEMORY (MiB)", "BUSY %", "°C", "VRAM °C", "FAN %", "WATT"):
        table.add_column(title)
    for gpu in gpus:
        figures = (gpu.gpu_util_pct, gpu.temp_c, gpu.vram_temp_c, gpu.fan_speed_pct)
        table.add_row(
            Text(f"{gpu.id} {gpu.name}"),
            f"{_shown(gpu.mem_used_mb)} of {_shown(gpu.mem_total_mb)}",
            *(_shown(figure) for figure in figures),
            _shown(gpu.power_draw_w),
        )
    return table


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0f}"
