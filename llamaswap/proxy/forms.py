"""Fields of queries and urlencoded bodies: find one, replace its value, leave the rest as it is.

Source: http-api §2.1, §2.4.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote_plus, unquote_to_bytes


def value_of(text: bytes, name: str) -> str | None:
    """The first value of that name; None: there is none."""
    for found, start, end in _fields(text):
        if found == name:
            return _decoded(text[start:end])
    return None


def with_value(text: bytes, name: str, value: str) -> bytes:
    """`text` with `value` for every field of that name."""
    parts: list[bytes] = []
    last = 0
    for found, start, end in _fields(text):
        if found == name:
            lead = text[last:start] if text[start - 1 : start] == b"=" else text[last:start] + b"="
            parts += (lead, quote_plus(value, safe="/:@").encode("ascii"))
            last = end
    parts.append(text[last:])
    return b"".join(parts)


def _fields(text: bytes) -> Iterator[tuple[str, int, int]]:
    """Each field's name, and where its value stands."""
    at = 0
    while at < len(text):
        end = text.find(b"&", at)
        if end < 0:
            end = len(text)
        equals = text.find(b"=", at, end)
        name_end = end if equals < 0 else equals
        yield _decoded(text[at:name_end]), end if equals < 0 else equals + 1, end
        at = end + 1


def _decoded(raw: bytes) -> str:
    return unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8", "replace")
