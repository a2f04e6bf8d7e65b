"""Heads that came before: a client's requests and a server's answers carry the same one again and
again, but for the length of the body. (decisions/0007-known-heads.md)

A head is known by every byte of it but the digits of its Content-Length, so nothing is taken for
known that was not checked. The parsers refuse a second length, so there is none in what is known.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar

from attrs import define, field

from llamaswap.proxy.http1 import (
    RequestHead,
    ResponseHead,
    parse_request_head,
    parse_response_head,
)

MOST = 256
"""Heads that are remembered; with one more all are forgotten, and those in use soon known again."""
LARGEST = 4096
"""Bytes of a head that is remembered."""
_NAME = b"content-length"
_LENGTH = re.compile(rb"\r\n[cC]ontent-[lL]ength:[ \t]*([0-9]{1,18})\r\n")

H = TypeVar("H")
_Key: TypeAlias = bytes | tuple[bytes, bytes]
"""A head as what stands around its digits; one without them as it is. The two are never equal."""


@define(eq=False)
class KnownHeads(Generic[H]):
    """Parses heads of one kind, those it knows at little cost."""

    _parse: Callable[[bytes], H]
    _resized: Callable[[H, bytes], H]
    """The same head with another Content-Length, given as its digits."""
    _known: dict[_Key, H] = field(factory=dict, init=False)

    def parse(self, head: bytes) -> H:
        """As the parser itself, and raises what it raises. Nobody may change what comes back."""
        length = _LENGTH.search(head)
        key: _Key = head
        if length is not None:
            start, end = length.span(1)
            key = head[:start], head[end:]
        known = self._known.get(key)
        if known is not None:
            return known if length is None else self._resized(known, length[1])
        parsed = self._parse(head)
        if len(head) <= LARGEST:
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[key] = parsed
        return parsed


def _resized_request(head: RequestHead, digits: bytes) -> RequestHead:
    if head.index[_NAME] == digits:
        return head
    fields = [(key, name, digits if key == _NAME else value) for key, name, value in head.fields]
    return head.alike(fields, {**head.index, _NAME: digits}, int(digits))


def _resized_response(head: ResponseHead, digits: bytes) -> ResponseHead:
    length = int(digits)
    if head.length == length:
        return head
    headers = [(name, digits if name.lower() == _NAME else value) for name, value in head.headers]
    return head.alike(headers, length)


request_heads = KnownHeads(parse_request_head, _resized_request)
response_heads = KnownHeads(parse_response_head, _resized_response)
