"""Requests and answers as they were, in memory only, within a budget. Source: http-api §7.6.

Kept compressed, oldest out first; reading one does not make it younger. The budget counts
compressed bytes. Compression is our own business: zstd over MessagePack, a frame per lot of a
stream's body.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
import zstandard
from attrs import define, field

from llamaswap.telemetry.shown_headers import LEFT_OUT, shown_headers

MIB = 1 << 20
COMPRESSION_LEVEL = 3
LEFT_OUT_OF_ANSWERS = LEFT_OUT | {b"content-encoding"}
"""A captured body is decoded."""
SMALL = 1024
"""Bytes below which compression gains little."""
SMALL_IN_A_RUSH = 16 * 1024
"""Bytes below which it is left out when requests come so fast that it would slow them down."""
_MAGIC = zstandard.FRAME_HEADER
Pairs: TypeAlias = list[tuple[bytes, bytes]]
NO_REQUEST_BODY = frozenset(
    {"/v1/audio/transcriptions", "/v1/audio/voices", "/v1/images/edits", "/sdapi/v1/img2img"}
)
NO_RESPONSE_BODY = frozenset(
    {
        "/v1/audio/speech",
        "/v1/images/generations",
        "/sdapi/v1/txt2img",
        "/v1/images/edits",
        "/sdapi/v1/img2img",
    }
)


def compressor() -> Callable[[bytes], bytes]:
    """Make what compresses captures. For one thread at a time."""
    compress = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL).compress

    def frame(data: bytes) -> bytes:
        # The library cuts its result out of a buffer for the worst case. What it gives back lies
        # between captures and is too small for the next one: memory would grow by the size of the
        # bodies, not of the captures. A copy has a place of its own size.
        return bytes(memoryview(compress(data)))

    return frame


class Exchanged(msgspec.Struct, array_like=True):
    """What is kept of an exchange, before compression. Headers as they came, without secrets."""

    req_path: str
    req_headers: Pairs
    req_body: bytes | None
    resp_headers: Pairs
    resp_body: bytes | None
    """Decoded; None: not captured, or in frames of its own."""


class Capture(msgspec.Struct, frozen=True):
    """One exchange, compressed."""

    head: bytes
    frames: Sequence[bytes] = ()
    """A stream's body; empty: the body, if any, is in `head`."""

    @property
    def size(self) -> int:
        """Compressed bytes."""
        return len(self.head) + (sum(map(len, self.frames)) if self.frames else 0)


def pack(
    exchanged: Exchanged,
    frames: Sequence[bytes],
    compress: Callable[[bytes], bytes],
    *,
    least: int = SMALL,
) -> Capture:
    """Compress what is to be kept, if it has at least `least` bytes."""
    head = msgspec.msgpack.encode(exchanged)
    return Capture(head if len(head) < least else compress(head), tuple(frames))


def unpack(capture: Capture) -> Exchanged:
    """What was kept. Takes milliseconds per MiB."""
    decompressor = zstandard.ZstdDecompressor()
    head = capture.head
    if head.startswith(_MAGIC):  # MessagePack of an `Exchanged` begins otherwise
        head = decompressor.decompress(head)
    exchanged = msgspec.msgpack.decode(head, type=Exchanged)
    if capture.frames:
        exchanged.resp_body = b"".join(map(decompressor.decompress, capture.frames))
    return exchanged


@define(eq=False)
class Captures:
    """The latest captures, by row id. Event loop only."""

    budget: int
    """Compressed bytes; 0: nothing is captured."""
    _kept: dict[int, Capture] = field(factory=dict, init=False)
    _order: deque[int] = field(factory=deque, init=False)
    _size: int = field(default=0, init=False)

    @property
    def size(self) -> int:
        """Compressed bytes kept."""
        return self._size

    @property
    def ids(self) -> Container[int]:
        """Rows that have a capture."""
        return self._kept.keys()

    def all_ids(self) -> list[int]:
        """The same as a list, oldest first."""
        return list(self._order)

    def get(self, row: int) -> Capture | None:
        """The capture of a row; None: there is none any more, or there never was."""
        return self._kept.get(row)

    def add(self, row: int, capture: Capture) -> bool:
        """Keep a capture, letting the oldest go. False: it is larger than the whole budget."""
        size = capture.size
        if size > self.budget:
            return False
        self._kept[row] = capture
        self._order.append(row)
        self._size += size
        if self._size > self.budget:
            self._make_room()
        return True

    def resize(self, budget: int) -> None:
        """Take a new budget; what does not fit any more goes."""
        self.budget = budget
        self._make_room()

    def clear(self) -> None:
        """Forget everything: the rows are others now."""
        self._kept.clear()
        self._order.clear()
        self._size = 0

    def _make_room(self) -> None:
        while self._size > self.budget:
            self._size -= self._kept.pop(self._order.popleft()).size


def capture_body(row: int, exchanged: Exchanged) -> Mapping[str, Any]:
    """A capture as JSON."""
    return {
        "id": row,
        "req_path": exchanged.req_path,
        "req_headers": shown_headers(exchanged.req_headers),
        "req_body": _encoded(exchanged.req_body),
        "resp_headers": shown_headers(exchanged.resp_headers, LEFT_OUT_OF_ANSWERS),
        "resp_body": _encoded(exchanged.resp_body),
    }


def _encoded(body: bytes | None) -> str | None:
    return None if body is None else base64.b64encode(body).decode("ascii")
