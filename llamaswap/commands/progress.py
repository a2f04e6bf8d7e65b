"""Telling that something goes on, on stderr, once it takes longer than two seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import trio
from attrs import define, field

T = TypeVar("T")

PATIENCE = 2.0
LIVE_INTERVAL = 1.0
PLAIN_INTERVAL = 10.0
"""Seconds between two lines where stderr is no terminal."""


@define
class _Line:
    """The one line that says how far things are."""

    live: bool = field(factory=lambda: sys.stderr.isatty())
    _shown: bool = False

    @property
    def interval(self) -> float:
        """Seconds until it is worth saying something again."""
        return LIVE_INTERVAL if self.live else PLAIN_INTERVAL

    def show(self, text: str) -> None:
        sys.stderr.write(f"\r{text}\x1b[K" if self.live else f"{text}\n")
        sys.stderr.flush()
        self._shown = True

    def clear(self) -> None:
        if self.live and self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


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
    line = _Line()
    await trio.sleep(PATIENCE)
    try:
        while True:
            line.show(f"{what}: {trio.current_time() - began:.0f} s")
            await trio.sleep(line.interval)
    finally:
        line.clear()


def steps(what: str, items: Sequence[T]) -> Iterator[T]:
    """Go through `items`; from the third second on show how many of them are done."""
    line = _Line()
    due = time.monotonic() + PATIENCE
    try:
        for done, item in enumerate(items):
            if time.monotonic() >= due:
                line.show(f"{what}: {done} of {len(items)}")
                due = time.monotonic() + line.interval
            yield item
    finally:
        line.clear()
