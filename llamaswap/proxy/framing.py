"""What becomes of a response body's bytes on their way, and where the body ends.

Four ways, one shape: `take` gets what was received and gives what is to be sent; `complete` says
that the body has ended; `end` is asked when the upstream closes. Source: http-api §3.3, §3.6.
"""

from __future__ import annotations

from typing import Protocol

import httptools
from attrs import define, field

from llamaswap.chunk_decoder import ChunkDecoder
from llamaswap.proxy.chunked import ChunkWatch
from llamaswap.proxy.http1 import UpstreamViolation

CUT = "the upstream closed in the middle of its response"


class Framing(Protocol):
    """How one response body is framed."""

    complete: bool
    reusable: bool
    """Whether the upstream connection is in step once the body is complete."""

    def take(self, data: bytes) -> bytes:
        """What to send for what was received. Raises UpstreamViolation."""
        ...

    def end(self) -> bytes:
        """What to send now that the upstream has closed. Raises UpstreamViolation for a cut."""
        ...


@define
class Sized:
    """Exactly `left` more bytes, unchanged."""

    left: int
    complete: bool = False
    reusable: bool = True

    def take(self, data: bytes) -> bytes:
        """Pass on what belongs to the body; more than that is not ours to send."""
        if len(data) > self.left:
            self.reusable = False
            data = data[: self.left]
        self.left -= len(data)
        self.complete = self.left == 0
        return data

    def end(self) -> bytes:
        """Closing early cuts the body."""
        raise UpstreamViolation(CUT)


class Chunked:
    """Chunks as they came, framing included."""

    __slots__ = ("_feed", "_watch", "complete", "reusable")

    def __init__(self) -> None:
        self._watch = ChunkWatch()
        self._feed = self._watch.feed
        self.complete = False
        self.reusable = True

    def take(self, data: bytes) -> bytes:
        """Pass on everything; the parser only watches for the end."""
        try:
            self._feed(data)
        except httptools.HttpParserError as exc:
            raise UpstreamViolation(f"malformed chunk: {exc}") from exc
        if self._watch.complete:
            if self._watch.excess:  # where our message ended is not known any more
                raise UpstreamViolation("bytes after the end of the response")
            self.complete = True
        return data

    def end(self) -> bytes:
        """Closing before the last chunk cuts the body."""
        raise UpstreamViolation(CUT)


@define
class Unchunked:
    """Only the content of the chunks, for a client that knows none."""

    complete: bool = False
    reusable: bool = True
    _decoder: ChunkDecoder = field(factory=ChunkDecoder, init=False)

    def take(self, data: bytes) -> bytes:
        """Take the chunks apart."""
        try:
            body = self._decoder.feed(data)
        except httptools.HttpParserError as exc:
            raise UpstreamViolation(f"malformed chunk: {exc}") from exc
        self.complete = self._decoder.complete
        return body

    def end(self) -> bytes:
        """Closing before the last chunk cuts the body."""
        raise UpstreamViolation(CUT)


@define
class UntilClose:
    """Everything until the upstream closes, in chunks of our own if `chunk`."""

    chunk: bool
    complete: bool = False
    reusable: bool = False

    def take(self, data: bytes) -> bytes:
        """Wrap what came into one chunk, or pass it on."""
        return b"%x\r\n%b\r\n" % (len(data), data) if self.chunk else data

    def end(self) -> bytes:
        """This is how such a body ends."""
        self.complete = True
        return b"0\r\n\r\n" if self.chunk else b""
