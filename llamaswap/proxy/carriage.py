"""The way of one exchange over an upstream connection: ask, and carry the answer back.

Leaving early, for whatever reason, closes the upstream connection: that is how a model server
learns to stop generating. Source: http-api §3.2, §3.3, §3.6.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio
from attrs import define, field

from llamaswap.config.schema import Timeouts
from llamaswap.errors import BadGateway
from llamaswap.proxy.framing import Chunked, Framing, Sized, Unchunked, UntilClose
from llamaswap.proxy.headers import request_headers, response_headers
from llamaswap.proxy.http1 import (
    MAX_HEAD,
    Headers,
    ResponseHead,
    UpstreamViolation,
    render_head,
    status_line,
)
from llamaswap.proxy.known_heads import response_heads
from llamaswap.proxy.relay import Relay
from llamaswap.proxy.retry import may_ask_again
from llamaswap.proxy.splice import splice
from llamaswap.proxy.tunnel import tunnel
from llamaswap.proxy.wire import Wire

if TYPE_CHECKING:
    from llamaswap.proxy.exchange import Exchange

logger = logging.getLogger(__name__)

JOINED_BODY = 65536
"""Bodies up to this size travel in one send with their head."""


@define(eq=False)
class Carriage:
    """The way of one exchange over an upstream connection."""

    exchange: Exchange
    name: str
    """Of the model or peer, for messages."""
    run: int
    """What idle connections are shared by."""
    connect: Callable[[], Awaitable[Wire]]
    limits: Timeouts
    dress: Callable[[Headers], Headers] | None = None
    """What becomes of the request's headers for a destination that is no local model."""
    in_step: bool = field(default=True, init=False)
    """Whether the upstream has got the whole request."""

    async def carry(self, start: bytes, body: bytearray, *, readable: bool) -> None:
        """Send the request, then the response to the client. Raises BadGateway before its head."""
        exchange = self.exchange
        headers = request_headers(
            exchange.head,
            exchange.peer,
            len(body) if body or exchange.head.method in ("POST", "PUT", "PATCH") else None,
            readable_answer=readable,
        )
        if exchange.head.upgrade is not None:
            headers += [(b"Connection", b"Upgrade"), (b"Upgrade", exchange.head.upgrade)]
        if self._expects(body):
            headers.append((b"Expect", b"100-continue"))
        if self.dress is not None:
            headers = self.dress(headers)
        if exchange.prelude is not None:  # its stream may have begun, and is not compressed
            headers = [pair for pair in headers if pair[0].lower() != b"accept-encoding"]
        request = render_head(start, headers)
        pool = exchange.site.pool
        wire = pool.take(self.run)
        reused = wire is not None
        while True:
            if wire is None:
                wire = await self.connect()
            before = wire.written
            try:
                head, rest = await self._ask(wire, request, body)
                break
            except _NothingCame as exc:
                again = reused and may_ask_again(exchange.head.method, wire, before)
                wire.close()
                if not again:
                    raise BadGateway(f"{self.name}: {exc}") from exc
                wire, reused = None, False  # it was closed while it lay idle
            except BaseException:
                wire.close()
                raise
        try:
            if exchange.prelude is None or (stream := await exchange.prelude.hand_over()) is None:
                reusable = await self._respond(wire, head, rest)
            else:
                reusable = await splice(stream, wire, head, rest)
        except BaseException:
            wire.close()
            raise
        if reusable and self.in_step:
            pool.give_back(self.run, wire, self.limits.idle_conn)
        else:
            wire.close()

    def _expects(self, body: bytearray) -> bool:
        """Whether the upstream is asked before the body is sent, as the client did with us.

        Not for small bodies: a server that knows no `Expect` would cost each of them a second.
        """
        expects = self.exchange.head.expects_continue
        return expects and len(body) > JOINED_BODY and self.limits.expect_continue > 0

    async def _ask(self, wire: Wire, request: bytes, body: bytearray) -> tuple[ResponseHead, bytes]:
        """Send the request; return the response head and what came behind it."""
        came = b""
        self.in_step = True
        try:
            if self._expects(body):
                await wire.send_all(request)
                came = await self._wait_to_continue(wire)
                if self.in_step:
                    await wire.send_all(body)
            elif len(body) <= JOINED_BODY:
                await wire.send_all(request + body)
            else:
                await wire.send_all(request)
                await wire.send_all(body)
        except OSError as exc:
            # it may have answered before it closed (a refusal of a large body, say)
            logger.debug("%s: sending the request: %s", self.name, exc)
            self.in_step = False
        limit = self.limits.response_header
        try:
            if not limit:
                return await self._read_head(wire, came)
            with trio.fail_after(limit):
                return await self._read_head(wire, came)
        except trio.TooSlowError as exc:
            raise BadGateway(f"{self.name}: no response head within {limit:g} s") from exc
        except UpstreamViolation as exc:
            raise BadGateway(f"{self.name}: {exc}") from exc

    async def _wait_to_continue(self, wire: Wire) -> bytes:
        """Wait for the upstream's word on the body, a limited time; return what came instead.

        `in_step` is False afterwards if it answered without wanting the body.
        """
        came = b""
        with trio.move_on_after(self.limits.expect_continue):
            while b"\r\n\r\n" not in came:
                data = await wire.recv()
                if not data or len(came) > MAX_HEAD:
                    break
                came += data
        self.in_step = not came.startswith(b"HTTP/1.1 ") or came[9:10] == b"1"
        return came

    async def _read_head(self, wire: Wire, data: bytes) -> tuple[ResponseHead, bytes]:
        if not data:
            data = await wire.recv_later()
        while True:
            end = data.find(b"\r\n\r\n")
            if end >= 0:
                head = response_heads.parse(data[: end + 4])
                if head.status >= 200 or head.status == 101:
                    return head, data[end + 4 :]
                data = data[end + 4 :]  # 100 and 103 are between the upstream and us
                continue
            if len(data) > MAX_HEAD:
                raise UpstreamViolation("response head is larger than 1 MiB")
            more = await wire.recv()
            if not more:
                if data:
                    raise UpstreamViolation("it closed in the middle of its response head")
                raise _NothingCame("it closed the connection without an answer")
            data += more

    async def _respond(self, wire: Wire, head: ResponseHead, rest: bytes) -> bool:
        """Carry the response; whether the upstream connection may be used again."""
        exchange = self.exchange
        client = exchange.client
        headers = response_headers(head)
        if head.status == 101:
            if exchange.head.upgrade is None:
                raise BadGateway(f"{self.name}: it switched protocols unasked")
            headers += _upgrade_headers(head)
            exchange.status, exchange.keep_alive = 101, False
            await client.send_all(render_head(status_line(101), headers))
            if exchange.watch is not None:
                exchange.watch.head(101, headers, framed=False)
            exchange.sent = await tunnel(client, wire, rest)
            return False
        bodiless = exchange.head.method == "HEAD" or head.status in (204, 304)
        until_close = not bodiless and head.length is None and not head.chunked
        modern = exchange.head.version == "1.1"
        if head.length is not None and head.status != 204:
            headers.append((b"Content-Length", b"%d" % head.length))
        elif head.status not in (204, 304):
            if modern:
                headers.append((b"Transfer-Encoding", b"chunked"))
            elif not bodiless:
                exchange.keep_alive = False
        if not exchange.keep_alive:
            headers.append((b"Connection", b"close"))
        elif not modern:
            headers.append((b"Connection", b"keep-alive"))
        exchange.status = head.status
        start = render_head(status_line(head.status, head.reason), headers)
        watch = exchange.watch
        if bodiless:
            await client.send_all(start)
            if watch is not None:
                watch.head(head.status, headers, framed=False)
            return head.keep_alive and not rest
        if head.length is not None and len(rest) == head.length:
            await client.send_all(start + rest)  # the common short answer: one send
            exchange.sent = len(rest)
            if watch is not None:
                watch.head(head.status, headers, framed=False)
                watch.take(rest)
            return head.keep_alive
        framing: Framing
        if head.length is not None:
            framing = Sized(head.length)
        elif until_close:
            framing = UntilClose(modern)
        else:
            framing = Chunked() if modern else Unchunked()
        relay = Relay(wire, client, framing, exchange.site.pump)
        try:
            await client.send_all(start)
            if watch is not None:
                watch.head(head.status, headers, framed=head.length is None and modern)
                relay.tap = watch.take
            if exchange.prelude is not None and not rest and modern and _is_event_stream(head):
                rest = await exchange.prelude.first_bytes(wire)
            reusable = await relay.run(rest)
        finally:
            exchange.sent += relay.sent
        return reusable and head.keep_alive


class _NothingCame(Exception):
    """The connection was closed before a single byte of an answer."""


def _is_event_stream(head: ResponseHead) -> bool:
    """Whether comments of ours may stand in the body before its first byte."""
    events = b"text/event-stream" in head.get(b"content-type").lower()
    return events and head.length is None and not head.get(b"content-encoding")


def _upgrade_headers(head: ResponseHead) -> Headers:
    return [(b"Connection", b"Upgrade"), (b"Upgrade", head.get(b"upgrade") or b"websocket")]
