"""Carry one response body from an upstream to a client, bytes as received.

One `recv`, one `send`; no task, event or copy per chunk. A slow client slows the reading: nothing
is queued in between. Whatever was cut short ends in an exception, so that the caller closes the
client's connection and the client notices. Source: http-api §3.3, §3.6.
"""

from __future__ import annotations

from collections.abc import Callable

import httptools
import trio
from attrs import define

from llamaswap.proxy.http1 import ChunkDecoder, ChunkWatch, UpstreamViolation
from llamaswap.proxy.wire import Wire

FAIR_SHARE = 16
"""Chunks carried without waiting before other tasks get a turn."""


@define(eq=False)
class Relay:
    """Counts what went to the client."""

    upstream: Wire
    client: Wire
    sent: int = 0
    watch: Callable[[bytes], None] | None = None
    """Sees each piece after it went out; must be O(1)."""
    _turns: int = 0

    async def sized(self, first: bytes, length: int) -> bool:
        """Carry exactly `length` bytes. True: the upstream connection may be used again."""
        data = first
        while True:
            excess = len(data) > length
            if excess:
                data = data[:length]
            if data:
                length -= len(data)
                await self._pass_on(data)
            if length == 0:
                return not excess
            data = await self._next()

    async def chunked(self, first: bytes) -> bool:
        """Carry a chunked body, framing included. True: the connection may be used again."""
        end = ChunkWatch()
        data = first
        while True:
            if data:
                _feed(end.feed, data)
                if end.excess:  # where our message ends is not known any more
                    raise UpstreamViolation("bytes after the end of the response")
                await self._pass_on(data)
                if end.complete:
                    return True
            data = await self._next()

    async def unchunked(self, first: bytes) -> bool:
        """Carry only the content of a chunked body, for a client that knows no chunks."""
        decoder = ChunkDecoder()
        data = first
        while True:
            if data:
                body = _feed(decoder.feed, data)
                if body:
                    await self._pass_on(body)
                if decoder.complete:
                    return True
            data = await self._next()

    async def until_close(self, first: bytes, *, chunk: bool) -> bool:
        """Carry everything until the upstream closes, in chunks of our own if `chunk`."""
        data = first
        while True:
            if data:
                await self._pass_on(b"%x\r\n%b\r\n" % (len(data), data) if chunk else data)
            data = await self.upstream.recv()
            if not data:
                break
            await self._take_turns()
        if chunk:
            await self.client.send_all(b"0\r\n\r\n")
        return False

    async def _pass_on(self, data: bytes) -> None:
        await self.client.send_all(data)
        self.sent += len(data)
        if self.watch is not None:
            self.watch(data)

    async def _next(self) -> bytes:
        data = await self.upstream.recv()
        if not data:
            raise UpstreamViolation("the upstream closed in the middle of its response")
        await self._take_turns()
        return data

    async def _take_turns(self) -> None:
        # recv and send do not yield while the kernel keeps up with both
        self._turns += 1
        if self._turns >= FAIR_SHARE:
            self._turns = 0
            await trio.lowlevel.checkpoint()


def _feed(feed: Callable[[bytes], bytes | None], data: bytes) -> bytes | None:
    try:
        return feed(data)
    except httptools.HttpParserError as exc:
        raise UpstreamViolation(f"malformed chunk: {exc}") from exc
