"""`logs [-f] [SOURCE]`: what the program or a model has said."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from urllib.parse import quote

from llamaswap.commands.arguments import Argument, Flag, Line
from llamaswap.commands.connection import REACH, connected
from llamaswap.commands.running import run_async

LINE = Line(
    name="logs",
    summary="Print the last 100 KiB of a log; with -f go on as it grows.",
    flags=(
        Flag("f", "", "follow"),
        Flag("no-history", "", "only what comes from now on; implies -f"),
        *REACH,
    ),
    arguments=(
        Argument(
            "SOURCE",
            "a model, 'proxy' (the program itself), 'upstream' (all models);"
            " without any, what the program's stdout shows",
            required=False,
            kind="model",
        ),
    ),
    details="Bytes come out as the model's server wrote them.",
)


def run(arguments: Sequence[str]) -> int:
    """Copy a log to stdout."""
    given = LINE.read(arguments)
    source = given.argument()
    path = "/logs/stream" + (f"/{quote(source, safe='')}" if source else "")
    if given.on("no-history"):
        path += "?no-history"
    elif not given.on("f"):
        path += "?no-follow"

    async def body() -> None:
        async with connected(given) as connection, connection.stream("GET", path) as chunks:
            async for chunk in chunks:
                sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()

    run_async(body)
    return 0
