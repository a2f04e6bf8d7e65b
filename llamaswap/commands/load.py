"""`load MODEL…`: start models and wait until they are ready."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from urllib.parse import quote

import msgspec
import trio

from llamaswap.commands.arguments import Argument, Line
from llamaswap.commands.connection import JSON, REACH, Connection, connected
from llamaswap.commands.progress import progress
from llamaswap.commands.running import run_async

LINE = Line(
    name="load",
    summary="Start models, one after the other, and wait until each is ready.",
    flags=(JSON, *REACH),
    arguments=(Argument("MODEL", "id or alias of a local model", many=True, kind="model"),),
    details="What may not run beside a model is stopped for it, as for any request.",
)


def run(arguments: Sequence[str]) -> int:
    """Load every model named; the first that fails ends the command."""
    given = LINE.read(arguments)

    async def body() -> None:
        async with connected(given) as connection:
            for model in given.arguments:
                began = trio.current_time()
                async with progress(f"loading {model}"):
                    await load(connection, model)
                seconds = round(trio.current_time() - began, 3)
                if given.on("json"):
                    told = msgspec.json.encode({"model": model, "seconds": seconds})
                    sys.stdout.write(told.decode() + "\n")
                else:
                    sys.stdout.write(f"{model} is ready ({seconds:.1f} s)\n")
                sys.stdout.flush()

    run_async(body)
    return 0


async def load(connection: Connection, model: str) -> None:
    """Have `model` started by a request that needs it, and nothing of it.

    `/upstream/<model>/health` is forwarded to the model's server like any request, so it waits in
    the queue, swaps, and is answered once the server is ready. A server that knows no `/health`
    answers 404 or 405, which shows just as well that it runs.
    """
    path = f"/upstream/{quote(model, safe='')}/health"
    request = connection.client.build_request("GET", path)
    await connection.started(request)
