"""Reads the copy of a response body: unframes, decompresses, finds usage, keeps what is captured.

Fed in lots, in a worker thread, long after the bytes went out. Memory stays bounded however long
the answer is: a stream is read event by event and kept compressed; another body is kept whole up
to `LIMIT`, beyond which nothing of it is looked at. Source: http-api §7.1, §7.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import httptools
import msgspec
from attrs import define, field

from llamaswap.chunk_decoder import ChunkDecoder
from llamaswap.content_coding import Decompressor, TooLarge, Unreadable, decompressor
from llamaswap.telemetry.usage import MARKS, UsageReader

LIMIT = 64 * 1024 * 1024


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


class ResponseReader(msgspec.Struct, eq=False):
    """One body. Feed it, then `end` it, then ask."""

    stream: bool
    """Whether it is a stream of server-sent events."""
    framed: bool
    coding: str
    """Value of `Content-Encoding`."""
    compress: Callable[[bytes], bytes] | None
    """Makes a frame of each lot of a stream; None: the body itself is not wanted."""
    usage: UsageReader = msgspec.field(default_factory=UsageReader)
    body: bytearray = msgspec.field(default_factory=bytearray)
    """Decoded, of what is no stream."""
    frames: list[bytes] = []
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
    _unframer: ChunkDecoder | None = None
    _decompressor: Decompressor | None = None
    """None: no coding, or one nobody here can read."""
    _lines: EventLines | None = None

    def __post_init__(self) -> None:
        if self.framed:
            self._unframer = ChunkDecoder()
        if self.coding:
            self._decompressor = decompressor(self.coding, LIMIT)
        if self.stream:
            self._lines = EventLines(self.usage.event, MARKS)

    def feed(self, pieces: Iterable[bytes]) -> None:
        """Read what was sent; never raises."""
        if self.unreadable or self.too_large:
            return
        data = b"".join(pieces)
        if not data:
            return
        try:
            if self._unframer is not None:
                data = _unframed(self._unframer, data)
            if self._decompressor is not None:
                data = self._decompressor.feed(data)
            self._decoded(data)
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
            if whole and self._decompressor is not None:
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


def _unframed(decoder: ChunkDecoder, data: bytes) -> bytes:
    """The content in `data`, up to the end of the message. Raises Unreadable."""
    over = decoder.complete
    if over:
        return b""
    try:
        return decoder.feed(data)
    except httptools.HttpParserError as exc:
        if not decoder.complete:
            raise Unreadable(f"bad chunk: {exc}") from exc
        return decoder.take()
