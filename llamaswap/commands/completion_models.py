"""`completion-models`: the names shells complete; silent if nobody answers."""

from __future__ import annotations

from collections.abc import Sequence

from llamaswap.commands.arguments import Line
from llamaswap.commands.connection import REACH, connected
from llamaswap.commands.running import run_async

LINE = Line(
    name="completion-models",
    summary="Print the models of a running llamaswap, one a line.",
    flags=REACH,
    details="Shell completion runs it.",
)
LIMIT = 1.0


def run(arguments: Sequence[str]) -> int:
    """Print one id a line."""
    given = LINE.read(arguments)

    async def body() -> list[str]:
        async with connected(given) as connection:
            listed = (await connection.get("/v1/models", within=LIMIT))["data"]
            return [str(entry["id"]) for entry in listed]

    print("\n".join(run_async(body)))
    return 0
