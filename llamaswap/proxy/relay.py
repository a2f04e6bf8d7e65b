"""Carry one response body from an upstream to a client, bytes as received.

One `recv`, one `send`; no task, event or copy per chunk. A slow client slows the reading: nothing
is queued in between. Whatever was cut short ends in an exception, so that the caller closes the
client's connection and the client notices.
"""

from __future__ import annotations

from collections.abc import Callable

import trio
from attrs import define

from llamaswap.proxy.framing import Framing
from llamaswap.proxy.pump import Pump
from llamaswap.proxy.wire import SocketWire, Wire

FAIR_SHARE = 16
"""Pieces carried without waiting before other tasks get a turn."""


@define(eq=False)
class Relay:
    """One body on its way."""

    upstream: Wire
    client: Wire
    framing: Framing
    pump: Pump
    sent: int = 0
    tap: Callable[[bytes], None] | None = None
    """Told of all bytes of the body after they went out; returns at once."""

    async def run(self, first: bytes) -> bool:
        """Carry the body that begins with `first`; whether the upstream connection is in step.

        Raises:
            UpstreamViolation: the body was cut or malformed.
            ConnectionError: the client is gone.
        """
        if first:
            await self._send(self.framing.take(first))
        if isinstance(self.upstream, SocketWire) and isinstance(self.client, SocketWire):
            while not self.framing.complete:
                # back with what the client would not take at once: wait for the client, then go on
                rest = await self.pump.carry(self, self.upstream.sock, self.client.sock)
                if rest:
                    await self.client.send_all(rest)
        else:
            await self._carry_streams()
        return self.framing.reusable

    async def _carry_streams(self) -> None:
        turns = 0
        while not self.framing.complete:
            data = await self.upstream.recv()
            await self._send(self.framing.take(data) if data else self.framing.end())
            turns += 1
            if turns % FAIR_SHARE == 0:  # recv and send need not yield
                await trio.lowlevel.checkpoint()

    async def _send(self, data: bytes) -> None:
        if data:
            await self.client.send_all(data)
            self.sent += len(data)
            if self.tap is not None:
                self.tap(data)
