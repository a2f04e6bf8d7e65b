"""Chunked bodies: a request's is taken apart, of an answer's only the end is found.

Source: RFC 9112 §7.1, http-api §1.1.
"""

from __future__ import annotations

import re

import httptools
from attrs import define, field

from llamaswap.proxy.http1 import ProtocolViolation

MAX_CHUNK_LINE = 4096
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")


@define
class ChunkedBody:
    """Takes a chunked request body apart, strictly. Feed bytes until `done`."""

    data: bytearray = field(factory=bytearray)
    done: bool = False
    _left: int = 0
    """Bytes of the present chunk still to come; -1: its line end is due."""
    _in_trailer: bool = False

    def feed(self, buffer: bytearray) -> None:
        """Consume what belongs to the body from the front of `buffer`."""
        while buffer and not self.done:
            if self._left > 0:
                taken = buffer[: self._left]
                self.data += taken
                self._left -= len(taken)
                del buffer[: len(taken)]
                if self._left == 0:
                    self._left = -1
                continue
            line = self._take_line(buffer)
            if line is None:
                return
            if self._left == -1:
                if line:
                    raise ProtocolViolation("chunk longer than announced")
                self._left = 0
            elif self._in_trailer:
                self.done = not line  # trailers end here
            else:
                self._begin_chunk(line)

    def _begin_chunk(self, line: bytes) -> None:
        match = _CHUNK_SIZE.fullmatch(line)
        if match is None:
            raise ProtocolViolation("bad chunk size")
        self._left = int(match[1], 16)
        self._in_trailer = self._left == 0

    def _take_line(self, buffer: bytearray) -> bytes | None:
        end = buffer.find(b"\n", 0, MAX_CHUNK_LINE)
        if end < 0:
            if len(buffer) >= MAX_CHUNK_LINE:
                raise ProtocolViolation("chunk line too long")
            return None
        if end == 0 or buffer[end - 1] != 13:
            raise ProtocolViolation("bare LF in a chunked body")
        line = bytes(buffer[: end - 1])
        if b"\r" in line:
            raise ProtocolViolation("bare CR in a chunked body")
        del buffer[: end + 1]
        return line


class ChunkWatch:
    """Finds the end of a chunked response body whose bytes travel as received."""

    __slots__ = ("_parser", "complete", "excess", "feed")

    def __init__(self) -> None:
        self.complete = False
        self.excess = False
        self._parser = httptools.HttpResponseParser(self)
        # no on_body here: httptools then builds no object per chunk
        self._parser.feed_data(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        self.feed = self._parser.feed_data

    def on_message_begin(self) -> None:
        """Called by the parser."""
        if self.complete:
            self.excess = True

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self.complete = True
