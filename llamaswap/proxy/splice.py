"""Continue a stream that we began with what an upstream answers, whatever that is. http-api §5.3.

The client has got status 200 and some frames already. An event stream goes on with its bytes; any
other answer is put into one frame; a compressed one is decompressed, since our head promised none.
"""

from __future__ import annotations

import msgspec
from attrs import define, field

from llamaswap.content_coding import Decompressor, Unreadable, decompressor
from llamaswap.proxy.event_stream import DONE, EventStream, data_frame
from llamaswap.proxy.framing import Chunked, Framing, Sized, Unchunked, UntilClose
from llamaswap.proxy.headers import response_headers
from llamaswap.proxy.http1 import Headers, ResponseHead, UpstreamViolation
from llamaswap.proxy.relay import Relay
from llamaswap.proxy.wire import Wire

LARGEST_FRAME = 16 * 1024 * 1024
"""Bytes of an answer that is no event stream and is to be put into one frame."""
SHOWN = 2000
"""Characters of such an answer if it is no JSON."""


@define
class Refit:
    """A body in any framing and coding of the upstream's, made plain; chunks of ours if `chunk`."""

    inner: Unchunked | Sized | UntilClose
    decoder: Decompressor | None
    chunk: bool
    complete: bool = False
    reusable: bool = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.reusable = self.inner.reusable

    def take(self, data: bytes) -> bytes:
        """What to send for what was received. Raises UpstreamViolation."""
        return self._fit(self.inner.take(data))

    def end(self) -> bytes:
        """What to send now that the upstream has closed. Raises UpstreamViolation for a cut."""
        return self._fit(self.inner.end())

    def _fit(self, data: bytes) -> bytes:
        plain = self._decoded(data)
        out = b"%x\r\n%b\r\n" % (len(plain), plain) if self.chunk and plain else plain
        if self.inner.complete:
            self.complete = True
            self.reusable = self.inner.reusable
            if self.chunk:
                out += b"0\r\n\r\n"
        return out

    def _decoded(self, data: bytes) -> bytes:
        if self.decoder is None:
            return data
        try:
            return self.decoder.feed(data)
        except Unreadable as exc:
            raise UpstreamViolation(f"its compressed body cannot be read: {exc}") from exc


async def splice(stream: EventStream, upstream: Wire, head: ResponseHead, rest: bytes) -> bool:
    """Carry the answer into the stream; whether the upstream connection may be used again.

    Raises UpstreamViolation if the upstream breaks off, ConnectionError if the client is gone.
    """
    coding = head.get(b"content-encoding").decode("latin-1").strip().lower()
    events = b"text/event-stream" in head.get(b"content-type").lower()
    decoder = decompressor(coding)
    if coding not in ("", "identity") and decoder is None:
        await stream.fail(502, f"the model server answered in content coding {coding!r}, unasked")
        return False
    if head.status == 204 or not 200 <= head.status < 300 or not events:
        return await _in_one_frame(stream, upstream, head, rest, decoder)
    framing: Framing
    if decoder is None and stream.chunked and head.chunked:
        framing = Chunked()
    else:
        framing = Refit(_inner(head), decoder, stream.chunked)
    exchange = stream.exchange
    relay = Relay(upstream, exchange.client, framing, exchange.site.pump)
    if exchange.watch is not None:
        exchange.watch.head(head.status, _plain(head), framed=stream.chunked)
        relay.tap = exchange.watch.take
    stream.intact = False  # from here on the frames are the upstream's
    try:
        if head.length == 0:
            await exchange.client.send_all(framing.take(b""))
            return head.keep_alive and not rest
        if not rest and decoder is None and exchange.prelude is not None:
            rest = await exchange.prelude.first_bytes(upstream)
        return await relay.run(rest) and head.keep_alive
    finally:
        exchange.sent += relay.sent


async def _in_one_frame(
    stream: EventStream,
    upstream: Wire,
    head: ResponseHead,
    rest: bytes,
    decoder: Decompressor | None,
) -> bool:
    framing = Refit(_inner(head), decoder, chunk=False)
    body = bytearray()
    data = rest
    if head.status in (204, 304) or head.length == 0:
        framing.complete = True
    while not framing.complete:
        if data:
            body += framing.take(data)
        if len(body) > LARGEST_FRAME:
            await stream.fail(502, "the model server's answer is too large for one event")
            return False
        if not framing.complete:
            data = await upstream.recv()
            if not data:
                body += framing.end()
    if (watch := stream.exchange.watch) is not None:
        watch.head(head.status, _plain(head), framed=False)
        watch.take(bytes(body))
    status = head.status if head.status >= 400 else 502
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = body.decode("utf-8", "replace").strip()[:SHOWN]
        await stream.fail(status, text or f"the model server answered {head.status} without a body")
    else:
        # a line end inside a string is escaped in JSON, so those that are left mean nothing
        await stream.finish(
            data_frame(bytes(body.replace(b"\r", b" ").replace(b"\n", b" "))) + DONE
        )
    return head.keep_alive and framing.reusable


def _plain(head: ResponseHead) -> Headers:
    """The upstream's headers, as the body is after us."""
    return [pair for pair in response_headers(head) if pair[0].lower() != b"content-encoding"]


def _inner(head: ResponseHead) -> Unchunked | Sized | UntilClose:
    if head.length is not None:
        return Sized(head.length)
    return Unchunked() if head.chunked else UntilClose(chunk=False)
