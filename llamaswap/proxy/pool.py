"""Idle connections to upstreams, last in first out. Source: http-api §3.1.

One pool per run of a process: connections to an earlier run are worthless. The newest connection is
the one least likely to be closed by the other side meanwhile.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import trio
from attrs import define, field, frozen

from llamaswap.proxy.wire import SocketWire, Wire

MAX_IDLE = 10
"""Idle connections kept per upstream."""
SWEEP_INTERVAL = 10.0

Connect: TypeAlias = Callable[[], Awaitable[Wire]]


@frozen
class Origin:
    """What connections may be shared: the same address of the same run of a process."""

    address: str
    run: int
    idle_limit: float


@define(eq=False)
class Pool:
    """All idle upstream connections of the program."""

    _idle: dict[Origin, list[tuple[float, Wire]]] = field(factory=dict)

    def take(self, origin: Origin) -> Wire | None:
        """An idle connection that still lives, or None."""
        waiting = self._idle.get(origin)
        while waiting:
            since, wire = waiting.pop()
            if trio.current_time() - since < origin.idle_limit and _is_alive(wire):
                return wire
            wire.close()
        return None

    def give_back(self, origin: Origin, wire: Wire) -> None:
        """Keep a connection whose last message is complete in both directions."""
        waiting = self._idle.get(origin)
        if waiting is None:
            waiting = self._idle[origin] = []
        if len(waiting) >= MAX_IDLE:
            wire.close()
        else:
            waiting.append((trio.current_time(), wire))

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
        now = trio.current_time()
        for origin, waiting in list(self._idle.items()):
            kept = []
            for since, wire in waiting:
                if now - since < origin.idle_limit and _is_alive(wire):
                    kept.append((since, wire))
                else:
                    wire.close()
            if kept:
                self._idle[origin] = kept
            else:
                del self._idle[origin]

    def close(self) -> None:
        """Close everything."""
        for waiting in self._idle.values():
            for _, wire in waiting:
                wire.close()
        self._idle.clear()

    def __len__(self) -> int:
        return sum(map(len, self._idle.values()))


def _is_alive(wire: Wire) -> bool:
    """Whether an idle connection has neither been closed nor sent anything unasked."""
    if not isinstance(wire, SocketWire):
        return True  # TLS: found out by using it
    try:
        wire.sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
