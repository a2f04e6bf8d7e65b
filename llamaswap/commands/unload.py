"""`unload [MODEL]`: stop one model, or all of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from urllib.parse import quote

import msgspec

from llamaswap.commands.arguments import Argument, Line
from llamaswap.commands.connection import JSON, REACH, connected
from llamaswap.commands.progress import progress
from llamaswap.commands.running import run_async

LINE = Line(
    name="unload",
    summary="Stop models and wait until they are stopped.",
    flags=(JSON, *REACH),
    arguments=(
        Argument(
            "MODEL", "id or alias; without any, all are stopped", required=False, many=True,
            kind="model",
        ),
    ),
)  # fmt: skip


def run(arguments: Sequence[str]) -> int:
    """Unload the models named, or all."""
    given = LINE.read(arguments)

    async def body() -> None:
        async with connected(given) as connection:
            for model in given.arguments or ("",):
                path = "/api/models/unload" + (f"/{quote(model, safe='')}" if model else "")
                async with progress(f"unloading {model or 'all models'}"):
                    await connection.ask("POST", path, within=None)
                if given.on("json"):
                    told = {"unloaded": model or None}
                    sys.stdout.write(msgspec.json.encode(told).decode() + "\n")
                else:
                    sys.stdout.write(f"{model or 'every model'} is stopped\n")
                sys.stdout.flush()

    run_async(body)
    return 0
