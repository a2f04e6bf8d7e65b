"""Captures stay within their budget and come back as they were. Source: http-api §7.6."""

from __future__ import annotations

import base64

import pytest
import zstandard

from llamaswap.telemetry.captures import (
    Capture,
    Captures,
    Exchanged,
    capture_body,
    pack,
    unpack,
)
from llamaswap.telemetry.shown_headers import shown_headers

compress = zstandard.ZstdCompressor().compress


def of_size(size: int) -> Capture:
    return Capture(bytes(size))


def test_what_was_packed_comes_back() -> None:
    exchanged = Exchanged("/p", [(b"A", b"b")], b"\0\xff", [(b"c", b"\xff")], b"answer")
    assert unpack(pack(exchanged, (), compress)) == exchanged


def test_a_stream_comes_back_whole() -> None:
    frames = [compress(b"data: 1\n\n"), compress(b"data: 2\n\n")]
    packed = pack(Exchanged("/p", [], None, [], None), frames, compress)
    assert unpack(packed).resp_body == b"data: 1\n\ndata: 2\n\n"
    assert packed.size == len(packed.head) + sum(map(len, frames))


def test_bodies_are_base64_and_absent_ones_null() -> None:
    body = capture_body(7, Exchanged("/p", [], b"\xfb\xff", [], None))
    assert body["id"] == 7
    assert body["resp_body"] is None
    assert base64.b64decode(body["req_body"]) == b"\xfb\xff"


def test_the_oldest_goes_first_and_reading_keeps_nobody_young() -> None:
    captures = Captures(100)
    for row in (1, 2, 3):
        assert captures.add(row, of_size(40)) or row == 3
        captures.get(1)
    assert [row for row in (1, 2, 3) if row in captures.ids] == [2, 3]
    assert captures.size == 80


def test_what_is_larger_than_everything_is_refused_and_costs_nothing() -> None:
    captures = Captures(100)
    captures.add(1, of_size(60))
    assert not captures.add(2, of_size(101))
    assert captures.all_ids() == [1]


def test_the_budget_holds_whatever_comes() -> None:
    captures = Captures(1000)
    for row in range(1, 500):
        captures.add(row, of_size(row * 7 % 400))
        assert captures.size <= 1000
        assert captures.size == sum(
            kept.size for kept in map(captures.get, captures.all_ids()) if kept is not None
        )


def test_a_smaller_budget_lets_the_oldest_go_at_once() -> None:
    captures = Captures(100)
    for row in (1, 2, 3):
        captures.add(row, of_size(30))
    captures.resize(50)
    assert captures.all_ids() == [3]
    captures.resize(0)
    assert (captures.all_ids(), captures.size) == ([], 0)


@pytest.mark.parametrize(
    "name",
    ["Authorization", "proxy-authorization", "COOKIE", "Set-Cookie", "X-Api-Key", "api-key",
     "X-Goog-Api-Key"],
)  # fmt: skip
def test_secrets_are_hidden_in_any_case(name: str) -> None:
    shown = shown_headers([(name.encode(), b"secret")])
    assert list(shown.values()) == ["[REDACTED]"]


def test_headers_have_one_value_and_title_case_and_no_host() -> None:
    pairs = [(b"x-b", b"1"), (b"X-B", b"2"), (b"Host", b"h"), (b"content-TYPE", b"t\xff")]
    assert shown_headers(pairs) == {"X-B": "1", "Content-Type": "t\ufffd"}


@pytest.mark.parametrize("size", [0, 10, 1023, 1024, 20_000])
@pytest.mark.parametrize("least", [0, 1024, 16_384])
def test_small_ones_may_be_kept_as_they_are(size: int, least: int) -> None:
    exchanged = Exchanged("/p", [], b"x" * size, [], None)
    packed = pack(exchanged, (), compress, least=least)
    assert unpack(packed) == exchanged
    assert (packed.size > size) is (size + 20 < least or size < 11)
