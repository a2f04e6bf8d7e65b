"""Reads the copy of a response body: unframes, decompresses, finds usage, keeps what is captured.

Fed in lots, in a worker thread, long after the bytes went out. Memory stays bounded however long
the answer is: a stream is read event by event and kept compressed; another body is kept whole up
to `LIMIT`, beyond which nothing of it is looked at. Source: http-api §7.1, §7.2.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import httptools
import zstandard
from attrs import define, field

from llamaswap.telemetry.usage import MARKS, UsageReader

LIMIT = 64 * 1024 * 1024
_GZIP = 16 + zlib.MAX_WBITS


class Unreadable(Exception):
    """The body is not what its `Content-Encoding` says."""


class TooLarge(Exception):
    """More than `LIMIT` bytes, as sent or decompressed."""


class _Decompressor(Protocol):
    def feed(self, data: bytes) -> bytes: ...

    def end(self) -> None: ...


class _Plain:
    """No coding, or one nobody here can read."""

    def feed(self, data: bytes) -> bytes:
        return data

    def end(self) -> None:
        """Nothing can be missing."""


_PLAIN = _Plain()


@define
class _Zlib:
    """`gzip`, and `deflate` with or without the zlib wrapper (RFC 9110 wants it)."""

    gzip: bool
    _inflater: zlib._Decompress | None = None
    _lead: bytes = b""
    _made: int = 0

    def feed(self, data: bytes) -> bytes:
        parts = []
        data = self._lead + data
        while data:
            if self._inflater is None:
                if not self.gzip and len(data) < 2:
                    self._lead = data
                    break
                self._inflater = zlib.decompressobj(self._window(data))
                self._lead = b""
            parts.append(self._inflate(self._inflater, data))
            data = self._inflater.unused_data
            if self._inflater.eof:
                if not self.gzip:
                    break
                if data:
                    self._inflater = None  # gzip may consist of several members
        return b"".join(parts)

    def end(self) -> None:
        if self._lead or (self._inflater is not None and not self._inflater.eof):
            raise Unreadable("it ends too early")

    def _inflate(self, inflater: zlib._Decompress, data: bytes) -> bytes:
        try:
            out = inflater.decompress(data, LIMIT + 1 - self._made)
        except zlib.error as exc:
            raise Unreadable(str(exc)) from exc
        self._made += len(out)
        if self._made > LIMIT:
            raise TooLarge
        return out

    def _window(self, data: bytes) -> int:
        if self.gzip:
            return _GZIP
        wrapped = data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
        return zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS


@define
class _Zstd:
    """`zstd`: not asked for, but some servers send it all the same."""

    _inflater: zstandard.ZstdDecompressionObj = field(
        factory=lambda: zstandard.ZstdDecompressor(max_window_size=8 << 20).decompressobj()
    )
    _made: int = 0
    _fed: bool = False

    def feed(self, data: bytes) -> bytes:
        self._fed = True
        try:
            out = b"" if self._inflater.eof else self._inflater.decompress(data)
        except zstandard.ZstdError as exc:
            raise Unreadable(str(exc)) from exc
        self._made += len(out)
        if self._made > LIMIT:
            raise TooLarge
        return out

    def end(self) -> None:
        if self._fed and not self._inflater.eof:
            raise Unreadable("it ends too early")


def _decompressor(coding: str) -> _Decompressor:
    if not coding:
        return _PLAIN
    match coding.strip().lower():
        case "gzip" | "x-gzip":
            return _Zlib(gzip=True)
        case "deflate":
            return _Zlib(gzip=False)
        case "zstd":
            return _Zstd()
        case _:
            return _PLAIN


class _Unframer:
    """Takes chunk framing off."""

    __slots__ = ("_over", "_parser", "_parts")

    def __init__(self) -> None:
        self._over = False
        self._parts: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)
        self._parser.feed_data(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        self._parts.append(data)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._over = True

    def feed(self, data: bytes) -> bytes:
        """The content in `data`. Raises Unreadable."""
        if self._over:
            return b""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as exc:
            if not self._over:
                raise Unreadable(f"bad chunk: {exc}") from exc
        body = b"".join(self._parts)
        self._parts.clear()
        return body


@define
class EventLines:
    """Finds the data of those events in a stream that hold any of some marks.

    Most events are words and hold none: they are not even cut into lines.
    """

    on_data: Callable[[bytes], None]
    marks: Sequence[bytes]
    _rest: bytearray = field(factory=bytearray)
    """A line that has not ended yet."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises TooLarge for a line beyond all measure."""
        end = data.rfind(b"\n") + 1
        if end:
            self._lines(bytes(self._rest) + data[:end])
            self._rest = bytearray(data[end:])
        else:
            self._rest += data
        if len(self._rest) > LIMIT:
            raise TooLarge

    def end(self) -> None:
        """The stream is over, and with it its last line."""
        self._lines(bytes(self._rest))
        self._rest = bytearray()

    def _lines(self, block: bytes) -> None:
        at = 0
        ahead = {mark: block.find(mark) for mark in self.marks}
        while ahead := {mark: hit for mark, hit in ahead.items() if hit >= 0}:
            hit = min(ahead.values())
            stop = block.find(b"\n", hit)
            stop = len(block) if stop < 0 else stop
            self._line(block[block.rfind(b"\n", 0, hit) + 1 : stop])
            at = stop
            ahead = {m: h if h >= at else block.find(m, at) for m, h in ahead.items()}

    def _line(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            self.on_data(line[5:].strip())


@define(eq=False)
class ResponseReader:
    """One body. Feed it, then `end` it, then ask."""

    stream: bool
    """Whether it is a stream of server-sent events."""
    framed: bool
    coding: str
    """Value of `Content-Encoding`."""
    compress: Callable[[bytes], bytes] | None
    """Makes a frame of each lot of a stream; None: the body itself is not wanted."""
    usage: UsageReader = field(factory=UsageReader)
    body: bytearray = field(factory=bytearray)
    """Decoded, of what is no stream."""
    frames: list[bytes] = field(factory=list)
    """A stream's decoded bytes, compressed, one frame per lot."""
    kept: int = 0
    """Bytes in `frames`."""
    abridged: bool = False
    """Whether the frames were given up while the stream went on."""
    length: int = 0
    """Decoded bytes seen."""
    unreadable: str = ""
    """Why nothing can be said of the body."""
    too_large: bool = False
    no_figures: str = ""
    """Why a body that can be read tells nothing: it is not what its kind has to be."""
    _unframer: _Unframer | None = field(init=False)
    _decompressor: _Decompressor = field(init=False)
    _lines: EventLines | None = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._unframer = _Unframer() if self.framed else None
        self._decompressor = _decompressor(self.coding)
        self._lines = EventLines(self.usage.event, MARKS) if self.stream else None

    def feed(self, pieces: Iterable[bytes]) -> None:
        """Read what was sent; never raises."""
        if self.unreadable or self.too_large:
            return
        data = b"".join(pieces)
        if not data:
            return
        try:
            if self._unframer is not None:
                data = self._unframer.feed(data)
            self._decoded(self._decompressor.feed(data))
        except TooLarge:
            self.too_large = True
            self.body.clear()
            self._drop_frames()
        except (Unreadable, ValueError) as exc:
            self._give_up(exc)

    def end(self, *, whole: bool) -> None:
        """Nothing more comes. `whole`: the body was sent to its end."""
        if self.unreadable or self.too_large:
            return
        try:
            if whole:
                self._decompressor.end()
        except Unreadable as exc:
            self._give_up(exc)
            return
        if self._lines is not None:
            self._lines.end()
            if self.usage.unread:
                self.no_figures = "events with figures are no JSON"
        elif not self.usage.document(self.body):
            self.no_figures = "it is no JSON" if self.body else "it is empty"

    def _decoded(self, data: bytes) -> None:
        self.length += len(data)
        if not data:
            return
        if self._lines is not None:
            self._lines.feed(data)
            if self.compress is not None:
                frame = self.compress(data)
                self.frames.append(frame)
                self.kept += len(frame)
            return
        if self.length > LIMIT:
            raise TooLarge
        self.body += data

    def _give_up(self, error: Exception) -> None:
        self.unreadable = str(error) or type(error).__name__
        self.usage = UsageReader()
        self.body.clear()
        self._drop_frames()

    def abridge(self) -> None:
        """Keep nothing of the stream, now or later; usage is still looked for."""
        self.abridged = True
        self.compress = None
        self._drop_frames()

    def _drop_frames(self) -> None:
        self.frames.clear()
        self.kept = 0
