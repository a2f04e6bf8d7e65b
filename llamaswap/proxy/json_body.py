"""What routing needs of a JSON body, and where its members stand.

Source: http-api §2.1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import msgspec
from attrs import frozen

from llamaswap.errors import BadRequest

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_SCALAR = re.compile(rb"[^\s,\]}]+")
_BLANK = re.compile(rb"[ \t\r\n]*")
_INTEREST = re.compile(rb'["{}\[\]]')
# an escaped spelling of one of the letters of "model", in a key or anywhere else
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPED_LETTER = re.compile(rb"\\u006[dfDF45cC]")


class _Peek(msgspec.Struct):
    model: msgspec.Raw = msgspec.Raw()
    stream: msgspec.Raw = msgspec.Raw()


_decode_peek = msgspec.json.Decoder(_Peek).decode
_decode_any = msgspec.json.decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@frozen
class Member:
    """Where a member of an object stands."""

    key: str
    at: int
    """Offset of its key."""
    start: int
    end: int
    """Offsets of its value."""


class Peek(msgspec.Struct, frozen=True):
    """What routing needs of a body."""

    model: str | None
    """None: missing. An object or array becomes its JSON text, which names no model."""
    stream: bool


def peek(body: bytes | bytearray) -> Peek:
    """Read `model` and `stream` without building the rest. The first of duplicates decides.

    Raises BadRequest if the body is no JSON; an empty one, or one that is no object, has no model.
    """
    if not body:
        return Peek(None, stream=False)
    try:
        found = _decode_peek(body)
        model, stream = bytes(found.model), bytes(found.stream)
    except msgspec.ValidationError:
        return Peek(None, stream=False)  # valid JSON, but no object
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        if not _is_valid_after_all(body):
            raise BadRequest(f"request body is not valid JSON: {exc}") from exc
        model = _first_value(body, "model") or b""
        stream = _first_value(body, "stream") or b""
    else:
        if model and not _is_only_model(body):
            model = _first_value(body, "model") or model
    return Peek(_name(model), _truth(stream))


def _is_valid_after_all(body: bytes | bytearray) -> bool:
    """Whether the fast parser was too strict: it knows no byte order mark and no half surrogates.

    Browsers send the latter when a text was cut in the middle of an emoji.
    """
    if not body.startswith(BYTE_ORDER_MARK) and _SURROGATE.search(body) is None:
        return False
    try:
        json.loads(body.decode("utf-8-sig"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and the like are no JSON


def members(body: bytes | bytearray) -> Iterator[Member]:
    """The members of the object at the front of a valid JSON text, in order, with duplicates."""
    at = _skip(body, len(BYTE_ORDER_MARK) if body.startswith(BYTE_ORDER_MARK) else 0)
    if at >= len(body) or body[at] != 123:  # {
        return
    known = _values(body)
    at = _skip(body, at + 1)
    while body[at] != 125:  # }
        key = _STRING.match(body, at)
        assert key is not None, "only called for valid JSON"
        name = _text(key[0])
        start = _skip(body, _skip(body, key.end()) + 1)  # over the colon
        end = _value_end(body, start, known.get(name))
        yield Member(name, at, start, end)
        at = _skip(body, end)
        if body[at] == 44:  # ,
            at = _skip(body, at + 1)


def elements(body: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """Where the elements of the array at the front of a valid JSON text stand."""
    at = _skip(body, _skip(body, 0) + 1)
    while body[at] != 93:  # ]
        end = _value_end(body, at)
        yield at, end
        at = _skip(body, end)
        if body[at] == 44:  # ,
            at = _skip(body, at + 1)


def _values(body: bytes | bytearray) -> dict[str, msgspec.Raw]:
    """Every member's text, as the parser in C finds it; of duplicates only the last."""
    try:
        return _decode_members(bytes(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}  # a key with half a surrogate; the walk below reads it


def _text(key: bytes | bytearray) -> str:
    try:
        return str(_decode_any(key))
    except msgspec.DecodeError:  # half a surrogate, escaped
        return str(json.loads(key))


def _value_end(body: bytes | bytearray, start: int, known: msgspec.Raw | None = None) -> int:
    """Where the value that begins at `start` ends. `known`: what it may be, to spare a walk."""
    first = body[start]
    if first == 34:  # "
        string = _STRING.match(body, start)
        assert string is not None
        return string.end()
    if first not in (123, 91):
        scalar = _SCALAR.match(body, start)
        assert scalar is not None
        return scalar.end()
    if known is not None and known:
        text = bytes(known)
        # a whole object or array is never the beginning of a longer one
        if text[0] == first and body.startswith(text, start):
            return start + len(text)
    depth, at = 0, start
    while True:
        mark = _INTEREST.search(body, at)
        assert mark is not None
        match mark[0]:
            case b'"':
                string = _STRING.match(body, mark.start())
                assert string is not None
                at = string.end()
                continue
            case b"{" | b"[":
                depth += 1
            case _:
                depth -= 1
        at = mark.end()
        if depth == 0:
            return at


def _skip(body: bytes | bytearray, at: int) -> int:
    blank = _BLANK.match(body, at)
    assert blank is not None
    return blank.end()


def _is_only_model(body: bytes | bytearray) -> bool:
    """Whether no second member can be called `model`; then the parser's answer is the first."""
    return body.count(b'"model"') == 1 and _ESCAPED_LETTER.search(body) is None


def _first_value(body: bytes | bytearray, key: str) -> bytes | None:
    for member in members(body):
        if member.key == key:
            return bytes(body[member.start : member.end])
    return None


def _name(raw: bytes) -> str | None:
    if not raw or raw == b"null":
        return None
    if raw[:1] == b'"':
        # half a surrogate names no model, and could not be written down
        return _text(raw).encode("utf-8", "replace").decode() or None
    return raw.decode("utf-8")


def _truth(raw: bytes) -> bool:
    if not raw:
        return False
    value = json.loads(raw)
    if isinstance(value, str):
        return value.lower() in ("true", "t", "1")
    return isinstance(value, int | float) and bool(value)
