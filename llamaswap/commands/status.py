"""`status`: models, their states, requests and GPUs as tables; `-watch` keeps them up to date."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import msgspec
import trio
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from llamaswap.commands.arguments import Flag, Given, Line
from llamaswap.commands.connection import JSON, REACH, Unreachable, connected
from llamaswap.commands.running import run_async
from llamaswap.commands.state import GpuState, ModelState, State, gather

LINE = Line(
    name="status",
    summary="Show what a running llamaswap does: models, states, requests, GPUs.",
    flags=(
        Flag("watch", "", "keep showing it until Ctrl-C"),
        Flag("every", "DURATION", "pause between two looks with -watch", default="1s"),
        JSON,
        *REACH,
    ),
    details="With -json and -watch: one JSON object a line.",
)
COLOURS = {"ready": "green", "starting": "yellow", "stopping": "yellow", "stopped": "dim"}


def run(arguments: Sequence[str]) -> int:
    """Print the tables, once or for ever."""
    given = LINE.read(arguments)
    every = max(0.1, given.seconds("every"))

    async def body() -> None:
        async with connected(given) as connection:
            if not given.on("watch"):
                _print(given, await gather(connection))
            elif given.on("json") or not sys.stdout.isatty():
                while True:
                    _print(given, await gather(connection))
                    await trio.sleep(every)
            else:
                await _watch(lambda: gather(connection), every)

    run_async(body)
    return 0


def _print(given: Given, state: State) -> None:
    if given.on("json"):
        sys.stdout.write(msgspec.json.encode(state.as_json()).decode() + "\n")
        sys.stdout.flush()
    else:
        Console(highlight=False).print(shown(state))
        sys.stdout.flush()


async def _watch(look: object, every: float) -> None:
    """Redraw the tables; a server that is away for a while comes back by itself."""
    assert callable(look)
    view: Group | Text = Group(shown(await look()))
    with Live(view, auto_refresh=False, screen=True) as live:
        while True:
            try:
                live.update(shown(await look()), refresh=True)
            except Unreachable as exc:
                live.update(Text(str(exc), style="red"), refresh=True)
            await trio.sleep(every)


def shown(state: State) -> Group:
    """The tables of one moment."""
    parts: list[Table | Text] = [_models(state.models)]
    if state.gpus:
        parts.append(_gpus(state.gpus))
    parts.append(Text(f"llamaswap {state.version} at {state.url}", style="dim"))
    parts += [Text(f"not shown: {reason}", style="dim") for reason in state.missing]
    return Group(*parts)


def _models(models: Sequence[ModelState]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("MODEL", "STATE"):
        table.add_column(title, no_wrap=True)
    table.add_column("REQUESTS", justify="right")
    table.add_column("ADDRESS")
    for model in models:
        style = COLOURS.get(model.state, "")
        count = "?" if model.requests is None else str(model.requests)
        table.add_row(Text(model.id), Text(model.state, style=style), count, Text(model.proxy))
    return table


def _gpus(gpus: Sequence[GpuState]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("GPU", no_wrap=True)
    for title in ("MEMORY (MiB)", "BUSY", "TEMPERATURE", "POWER"):
        table.add_column(title, justify="right")
    for gpu in gpus:
        table.add_row(
            Text(f"{gpu.id} {gpu.name}"),
            f"{gpu.used_mib} of {gpu.total_mib}",
            f"{gpu.busy:.0f} %",
            f"{gpu.celsius} °C",
            f"{gpu.watt:.0f} W",
        )
    return table
