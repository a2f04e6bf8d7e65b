"""Taking content codings off, piece by piece: gzip, deflate, zstd. Source: RFC 9110 §8.4.1.

Nothing here makes more than its limit, and little more of it at once: a body of some kilobytes can
stand for gigabytes.
"""

from __future__ import annotations

import math
import zlib
from typing import Protocol

import zstandard
from attrs import define, field

_GZIP = 16 + zlib.MAX_WBITS
_ZSTD_WINDOW = 8 << 20
_ZSTD_BITE = 1024
"""Bytes given to zstd at once, which it can make 32 MiB of."""


class Unreadable(Exception):
    """The body is not what its `Content-Encoding` says."""


class TooLarge(Exception):
    """It stands for more than the limit allows."""


class Decompressor(Protocol):
    """Undoes one content coding."""

    def feed(self, data: bytes) -> bytes:
        """The plain bytes of the next piece. Raises Unreadable, TooLarge."""
        ...

    def end(self) -> None:
        """Nothing more comes. Raises Unreadable if something is missing."""
        ...


def decompressor(coding: str, limit: float = math.inf) -> Decompressor | None:
    """What undoes `coding`, the value of a `Content-Encoding`, up to `limit` plain bytes.

    None: it is none that can be read here.
    """
    match coding.strip().lower():
        case "gzip" | "x-gzip":
            return _Zlib(limit, gzip=True)
        case "deflate":
            return _Zlib(limit, gzip=False)
        case "zstd":
            return _Zstd(limit)
        case _:
            return None


@define
class _Zlib:
    """`gzip`, and `deflate` with or without the zlib wrapper (RFC 9110 wants it)."""

    limit: float
    gzip: bool = field(kw_only=True)
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
        most = 0 if self.limit == math.inf else int(self.limit) + 1 - self._made  # 0: any number
        try:
            out = inflater.decompress(data, most)
        except zlib.error as exc:
            raise Unreadable(str(exc)) from exc
        self._made += len(out)
        if self._made > self.limit:
            raise TooLarge
        return out

    def _window(self, data: bytes) -> int:
        if self.gzip:
            return _GZIP
        wrapped = data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
        return zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS


@define
class _Zstd:
    """`zstd`: not asked for, but some servers and clients send it all the same."""

    limit: float
    _inflater: zstandard.ZstdDecompressionObj = field(
        factory=lambda: zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
    )
    _made: int = 0
    _fed: bool = False

    def feed(self, data: bytes) -> bytes:
        self._fed = self._fed or bool(data)
        parts = []
        for at in range(0, len(data), _ZSTD_BITE):
            if self._inflater.eof:
                break
            try:
                out = self._inflater.decompress(data[at : at + _ZSTD_BITE])
            except zstandard.ZstdError as exc:
                raise Unreadable(str(exc)) from exc
            self._made += len(out)
            if self._made > self.limit:
                raise TooLarge
            parts.append(out)
        return b"".join(parts)

    def end(self) -> None:
        if self._fed and not self._inflater.eof:
            raise Unreadable("it ends too early")
