"""Idle connections to upstreams, last in first out. Source: http-api §3.1.

Kept by the number of the run of a process: connections to an earlier run are worthless. The newest
connection is the one least likely to be closed by the other side meanwhile.
"""

from __future__ import annotations

import math
from time import monotonic

import trio
from attrs import define, field

from llamaswap.proxy.wire import Wire

MAX_IDLE = 100
"""Idle connections kept per upstream. With 10, a third of 32 clients' requests connected anew."""
SWEEP_INTERVAL = 2.0


@define(eq=False)
class Pool:
    """All idle upstream connections of the program."""

    _idle: dict[int, list[tuple[float, Wire]]] = field(factory=dict)
    """By run: until when a connection may be used, and the connection."""

    def take(self, run: int) -> Wire | None:
        """An idle connection that still lives, or None."""
        waiting = self._idle.get(run)
        while waiting:
            until, wire = waiting.pop()
            if monotonic() < until and wire.is_quiet():
                return wire
            wire.close()
        return None

    def give_back(self, run: int, wire: Wire, idle_limit: float) -> None:
        """Keep a connection whose last message is complete, for `idle_limit` s; 0: no limit."""
        waiting = self._idle.get(run)
        if waiting is None:
            waiting = self._idle[run] = []
        if len(waiting) >= MAX_IDLE:
            wire.close()
        else:
            waiting.append((monotonic() + (idle_limit or math.inf), wire))

    async def sweep(self) -> None:
        """Close what expired or was closed by the other side, now and then, until cancelled."""
        try:
            while True:
                await trio.sleep(SWEEP_INTERVAL)
                self.sweep_once()
        finally:
            self.close()

    def sweep_once(self) -> None:
        """Close every idle connection that is of no use any more."""
        now = monotonic()
        for run, waiting in list(self._idle.items()):
            kept = []
            for until, wire in waiting:
                if now < until and wire.is_quiet():
                    kept.append((until, wire))
                else:
                    wire.close()
            if kept:
                self._idle[run] = kept
            else:
                del self._idle[run]

    def close(self) -> None:
        """Close everything."""
        for waiting in self._idle.values():
            for _, wire in waiting:
                wire.close()
        self._idle.clear()

    def __len__(self) -> int:
        return sum(map(len, self._idle.values()))
