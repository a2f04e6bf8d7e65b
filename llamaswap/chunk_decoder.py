"""Taking chunk framing off a response body. Source: RFC 9112 §7.1."""

from __future__ import annotations

import httptools


class ChunkDecoder:
    """Takes the chunks of a response body apart."""

    __slots__ = ("_parser", "_parts", "complete")

    def __init__(self) -> None:
        self.complete = False
        self._parts: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)
        self._parser.feed_data(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        self._parts.append(data)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self.complete = True

    def feed(self, data: bytes) -> bytes:
        """The body bytes in `data`. Raises httptools.HttpParserError."""
        self._parser.feed_data(data)
        return self.take()

    def take(self) -> bytes:
        """The body bytes that came before an error."""
        body = b"".join(self._parts)
        self._parts.clear()
        return body
