"""Carries the bodies of all streams in one task.

A model server sends a token every few milliseconds. Waking a task for each costs several times what
carrying its bytes costs, so while a stream flows its own task sleeps: the upstream sockets stand in
one epoll set, and whoever is readable is read and sent on in a plain loop. A stream's task is woken
for what is not plain: the end, an error, a client that does not take more.
(decisions/0002-one-pump-for-all-streams.md)
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from typing import Any, Protocol

import outcome
import trio
from attrs import define, field

from llamaswap.proxy.framing import Framing

RECEIVE_SIZE = 65536
PIECES_PER_TURN = 8
"""Reads from one socket before the next one's turn."""


class Flow(Protocol):
    """The body being carried."""

    framing: Framing
    sent: int
    tap: Callable[[bytes], None] | None


@define(eq=False)
class _Carried:
    flow: Flow
    upstream: socket.socket
    client: socket.socket
    task: trio.lowlevel.Task


@define(eq=False)
class Pump:
    """One epoll set for all upstream sockets that stream; without epoll, plain waiting."""

    _epoll: Any = field(factory=lambda: select.epoll() if hasattr(select, "epoll") else None)
    _carried: dict[int, _Carried] = field(factory=dict)

    async def run(self) -> None:
        """Carry until cancelled."""
        if self._epoll is None:
            await trio.sleep_forever()
        try:
            while True:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                for descriptor, _ in self._epoll.poll(0):
                    carried = self._carried.get(descriptor)
                    if carried is not None:
                        self._advance(descriptor, carried)
        finally:
            self._epoll.close()

    async def carry(self, flow: Flow, upstream: socket.socket, client: socket.socket) -> bytes:
        """Carry until the body is complete or the client takes no more; return what it left.

        Raises what the framing raises, and OSError if the client is gone. Cancelling leaves both
        sockets as they are.
        """
        if self._epoll is None:
            await trio.lowlevel.wait_readable(upstream)
            return _move(flow, upstream, client) or b""
        descriptor = upstream.fileno()
        carried = _Carried(flow, upstream, client, trio.lowlevel.current_task())
        self._carried[descriptor] = carried
        self._epoll.register(descriptor, select.EPOLLIN)

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            self._drop(descriptor)
            return trio.lowlevel.Abort.SUCCEEDED

        rest: bytes = await trio.lowlevel.wait_task_rescheduled(abort)
        return rest

    def _advance(self, descriptor: int, carried: _Carried) -> None:
        try:
            rest = _move(carried.flow, carried.upstream, carried.client)
        except Exception as exc:  # noqa: BLE001  # whatever it is, it is for the task that asked
            self._drop(descriptor)
            trio.lowlevel.reschedule(carried.task, outcome.Error(exc))
            return
        if rest is not None:
            self._drop(descriptor)
            trio.lowlevel.reschedule(carried.task, outcome.Value(rest))

    def _drop(self, descriptor: int) -> None:
        del self._carried[descriptor]
        self._epoll.unregister(descriptor)


def _move(flow: Flow, upstream: socket.socket, client: socket.socket) -> bytes | None:
    """Move what is there. None: go on when there is more; bytes: the task has to take over."""
    framing = flow.framing
    for _ in range(PIECES_PER_TURN):
        try:
            data = upstream.recv(RECEIVE_SIZE)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        out = framing.take(data) if data else framing.end()
        if out:
            try:
                sent = client.send(out)
            except BlockingIOError:
                sent = 0
            flow.sent += len(out)
            if flow.tap is not None:
                flow.tap(out)
            if sent < len(out):
                return out[sent:]
        if framing.complete:
            return b""
        if len(data) < RECEIVE_SIZE // 2:
            return None  # most likely that was all; epoll says if it was not
    return None
