"""What every source of graphics card figures can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import trio

from llamaswap.telemetry.samples import GpuReading


class SourceFailed(Exception):
    """A source could not tell; the text says why, for the log."""


class GpuSource(Protocol):
    """A source that is open."""

    async def read(self) -> Sequence[GpuReading]:
        """Return all cards as they are now, at least one.

        May wait; whoever calls sets the limit, and may cancel at any time.

        Raises:
            SourceFailed: there is nothing to tell at this moment.
        """
        ...

    async def aclose(self) -> None:
        """Give back what it holds (a library, a child process). Bounded, also when cancelled."""
        ...


class Candidate(Protocol):
    """A source that may or may not be usable on this machine."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    async def open(self, every: float, nursery: trio.Nursery) -> GpuSource:
        """Get ready to be read every so many seconds; close the source afterwards.

        What runs meanwhile (the reader of a tool) lives in `nursery` and never fails there.

        Raises:
            SourceFailed: it is no use on this machine.
        """
        ...


def number(text: object) -> float | None:
    """Read a figure as a tool prints it; `[N/A]` and its like are None."""
    if isinstance(text, bool) or not isinstance(text, (int, float, str)):
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < 1e300 else None  # neither nan nor inf


def whole(text: object) -> int | None:
    """Like `number`, cut to an integer."""
    value = number(text)
    return None if value is None else int(value)
