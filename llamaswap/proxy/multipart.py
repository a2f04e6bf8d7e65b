"""Parts of a `multipart/form-data` body: where they stand, and changing one field in place.

Files are neither read nor copied: the body is searched for its boundary and stays what it is. A
field's new value is spliced in, so whatever stands behind it moves once, inside its own buffer.
Source: http-api §2.1, §2.4; RFC 7578.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from attrs import frozen

HEAD_LIMIT = 65536
"""Bytes of a part's headers."""
EPILOGUE_LIMIT = 4096
"""Bytes behind the closing boundary in which it is still found."""
_BOUNDARY = re.compile(rb';\s*boundary\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))', re.IGNORECASE)
_DISPOSITION = re.compile(rb"(?:^|\r\n)content-disposition[ \t]*:([^\r]*)", re.IGNORECASE)
_NAME = re.compile(rb';\s*name\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))', re.IGNORECASE)
_FILENAME = re.compile(rb";\s*filename\*?\s*=", re.IGNORECASE)
_ESCAPE = re.compile(rb"\\(.)")


@frozen
class Part:
    """A field that is no file."""

    name: str
    start: int
    end: int
    """Offsets of its content."""


def boundary_of(content_type: bytes) -> bytes | None:
    """What separates the parts; None: the header does not say, so there are none."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        return None
    boundary = _plain(found)
    return boundary if 0 < len(boundary) <= 256 else None


def fields_named(body: bytes | bytearray, boundary: bytes, *names: str) -> list[Part]:
    """The fields with one of these names, in order; files do not count.

    Empty also for a body that is cut or malformed: nobody could read it.
    """
    closing = b"--" + boundary + b"--"
    if body.rfind(closing, max(0, len(body) - len(closing) - EPILOGUE_LIMIT)) < 0:
        return []
    try:
        return [part for part in _parts(body, boundary) if part.name in names]
    except _Malformed:
        return []


def splice(body: bytearray, fields: Sequence[Part], value: bytes) -> None:
    """Put `value` in for the content of `fields`; their offsets are worthless afterwards."""
    for part in reversed(fields):
        body[part.start : part.end] = value


class _Malformed(Exception):
    """No parts as they should be."""


def _parts(body: bytes | bytearray, boundary: bytes) -> Iterator[Part]:
    delimiter = b"\r\n--" + boundary
    at = len(delimiter) - 2
    if not body.startswith(delimiter[2:]):  # a preamble
        at = _after(body, delimiter, 0)[1]
    while True:
        start = _line_end(body, at)
        if start is None:
            return  # the closing boundary
        if body.startswith(b"\r\n", start):
            head, content = b"", start + 2
        else:
            blank = body.find(b"\r\n\r\n", start, start + HEAD_LIMIT)
            if blank < 0:
                raise _Malformed
            head, content = bytes(body[start:blank]), blank + 4
        # an empty content's boundary begins with the line end of the headers
        end, at = _after(body, delimiter, content - 2)
        disposition = _DISPOSITION.search(head)
        if disposition is None or _FILENAME.search(disposition[1]):
            continue
        name = _NAME.search(disposition[1])
        if name is not None:
            yield Part(_plain(name).decode("utf-8", "replace"), content, max(content, end))


def _after(body: bytes | bytearray, delimiter: bytes, start: int) -> tuple[int, int]:
    """Where the next delimiter stands, and what is behind it."""
    while True:
        found = body.find(delimiter, start)
        if found < 0:
            raise _Malformed
        behind = found + len(delimiter)
        if bytes(body[behind : behind + 2]) in (b"\r\n", b"--") or body[behind : behind + 1] in (
            b" ",
            b"\t",
        ):
            return found, behind
        start = behind  # a longer word that begins like the boundary


def _line_end(body: bytes | bytearray, at: int) -> int | None:
    """Where the line of a boundary ends; None: it is the last one."""
    if body.startswith(b"--", at):
        return None
    end = body.find(b"\r\n", at, at + HEAD_LIMIT)
    if end < 0 or bytes(body[at:end]).strip():
        raise _Malformed
    return end + 2


def _plain(found: re.Match[bytes]) -> bytes:
    quoted, token = found[1], found[2]
    return token if quoted is None else _ESCAPE.sub(rb"\1", quoted)
