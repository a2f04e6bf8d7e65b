"""Telling that something goes on, on stderr, once it takes longer than two seconds."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

PATIENCE = 2.0
PLAIN_INTERVAL = 10.0
"""Seconds between two lines where stderr is no terminal."""


@asynccontextmanager
async def progress(what: str) -> AsyncIterator[None]:
    """While the block runs, show `what` and how long it has taken, from the third second on."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_tell, what)
        try:
            yield
        finally:
            nursery.cancel_scope.cancel(reason="done")


async def _tell(what: str) -> None:
    began = trio.current_time()
    live = sys.stderr.isatty()
    await trio.sleep(PATIENCE)
    try:
        while True:
            text = f"{what}: {trio.current_time() - began:.0f} s"
            sys.stderr.write(f"\r{text}" if live else f"{text}\n")
            sys.stderr.flush()
            await trio.sleep(1.0 if live else PLAIN_INTERVAL)
    finally:
        if live:
            sys.stderr.write("\r\x1b[K")
