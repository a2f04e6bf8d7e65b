"""The metadata at the head of a GGUF file, without its tensors.

A reader of our own because the known one maps whole files and needs numpy; this one reads the head
of a file it does not trust. Source: the GGUF specification (ggml, docs/gguf.md), versions 2 and 3.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import define, frozen

from llamaswap.errors import LlamaswapError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
STRING, ARRAY = 8, 9
SCALARS: dict[int, struct.Struct] = {
    0: struct.Struct("<B"), 1: struct.Struct("<b"), 2: struct.Struct("<H"), 3: struct.Struct("<h"),
    4: struct.Struct("<I"), 5: struct.Struct("<i"), 6: struct.Struct("<f"), 7: struct.Struct("<?"),
    10: struct.Struct("<Q"), 11: struct.Struct("<q"), 12: struct.Struct("<d"),
}  # fmt: skip
"""Value types of fixed size."""
KEPT_ITEMS = 1024
"""Longer arrays (vocabularies) are skipped, not kept."""
TENSOR_DIMENSIONS = 8
NESTING = 3
U32, U64 = struct.Struct("<I"), struct.Struct("<Q")


class NotGguf(LlamaswapError):
    """The file is no GGUF file, or a broken one; the text says in what way."""


@frozen
class Header:
    """What the head of one file says."""

    metadata: Mapping[str, Any]
    """Key to value; long arrays are missing."""
    parameters: int
    """Elements of all tensors of this file."""


def read_header(path: Path) -> Header:
    """Read the head of `path`.

    Raises:
        NotGguf: it is something else, cut short, or contradicts itself.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) != MAGIC:
                raise NotGguf(f"{path}: no GGUF file")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Cursor(data).header()
    except (struct.error, IndexError):
        raise NotGguf(f"{path}: ends in the middle of its header; is the download complete?") from (
            None
        )
    except _Broken as exc:
        raise NotGguf(f"{path}: {exc}") from None
    except (OSError, ValueError) as exc:  # an empty file cannot be mapped
        raise NotGguf(f"{path}: cannot be read: {exc}") from exc


class _Broken(Exception):
    """The header contradicts itself."""


@define
class _Cursor:
    """A place in the file."""

    data: mmap.mmap
    at: int = 4

    def header(self) -> Header:
        version = self.take(U32)
        if version not in VERSIONS:
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
            if swapped in VERSIONS:
                raise _Broken("big-endian, for another kind of processor")
            raise _Broken(f"GGUF version {version}, and only 2 and 3 are known")
        tensors, pairs = self.take(U64), self.take(U64)
        # a pair takes 13 bytes at least and a tensor 24: more cannot be in the file
        if pairs > len(self.data) // 13 or tensors > len(self.data) // 24:
            raise _Broken("claims more entries than it has bytes")
        metadata: dict[str, Any] = {}
        for _ in range(pairs):
            key = self.string()
            value = self.value(self.take(U32))
            if value is not None:
                metadata[key] = value
        return Header(metadata, sum(self.tensor() for _ in range(tensors)))

    def take(self, kind: struct.Struct) -> Any:
        (value,) = kind.unpack_from(self.data, self.at)
        self.at += kind.size
        return value

    def skip(self, size: int) -> None:
        self.at += size
        if self.at > len(self.data):
            raise IndexError

    def string(self) -> str:
        size = self.take(U64)
        start = self.at
        self.skip(size)
        return self.data[start : self.at].decode("utf-8", "replace")

    def value(self, kind: int, depth: int = 0) -> Any:
        """One value; None for an array that is too long to keep."""
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            return self.array(depth)
        scalar = SCALARS.get(kind)
        if scalar is None:
            raise _Broken(f"has a value of unknown type {kind}")
        return self.take(scalar)

    def array(self, depth: int) -> list[Any] | None:
        kind, count = self.take(U32), self.take(U64)
        if depth >= NESTING:
            raise _Broken("nests arrays too deeply")
        if count > len(self.data):
            raise _Broken("claims more entries than it has bytes")
        if count <= KEPT_ITEMS:
            return [self.value(kind, depth + 1) for _ in range(count)]
        if kind in SCALARS:
            self.skip(SCALARS[kind].size * count)
        elif kind == STRING:
            for _ in range(count):
                self.skip(self.take(U64))
        else:
            for _ in range(count):
                self.value(kind, depth + 1)
        return None

    def tensor(self) -> int:
        """The number of elements of the tensor described here."""
        self.string()
        dimensions = self.take(U32)
        if dimensions > TENSOR_DIMENSIONS:
            raise _Broken(f"has a tensor with {dimensions} dimensions")
        elements = 1
        for _ in range(dimensions):
            elements *= self.take(U64)
        self.skip(U32.size + U64.size)  # type, offset
        return elements
