"""Heads that came before: the result is the parser's all the same. Source: RFC 9112."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamaswap.proxy import known_heads
from llamaswap.proxy.headers import MOST_MADE, request_headers, response_headers
from llamaswap.proxy.http1 import (
    ProtocolViolation,
    RequestHead,
    ResponseHead,
    UpstreamViolation,
    parse_request_head,
    parse_response_head,
)
from llamaswap.proxy.known_heads import LARGEST, MOST, KnownHeads, request_heads, response_heads
from llamaswap.proxy.request_coding import made_plain

GOOD = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: %b\r\nX: y\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\nX: y\r\n\r\n"


def of_requests() -> KnownHeads[RequestHead]:
    """One that knows nothing yet, and works as the program's own."""
    return KnownHeads(parse_request_head, request_heads._resized)


def of_answers() -> KnownHeads[ResponseHead]:
    return KnownHeads(parse_response_head, response_heads._resized)


def test_a_head_is_parsed_once_whatever_the_length_of_its_body() -> None:
    parsed: list[bytes] = []

    def parse(head: bytes) -> RequestHead:
        parsed.append(head)
        return parse_request_head(head)

    known = KnownHeads(parse, request_heads._resized)
    heads = [known.parse(GOOD % digits) for digits in (b"5", b"5", b"17", b"0", b"017")]
    assert parsed == [GOOD % b"5"]
    assert [head.length for head in heads] == [5, 5, 17, 0, 17]
    assert [head.get(b"content-length") for head in heads] == [b"5", b"5", b"17", b"0", b"017"]
    assert heads == [parse_request_head(GOOD % d) for d in (b"5", b"5", b"17", b"0", b"017")]
    assert known.parse(GOOD.replace(b"X: y", b"X: z") % b"5").get(b"x") == b"z"
    assert len(parsed) == 2


@pytest.mark.parametrize(
    "bad",
    [
        GOOD % b"",
        GOOD % b"-5",
        GOOD % b"5x",
        GOOD % b"5 5",
        GOOD % b"5, 5",
        GOOD % b"0x5",
        GOOD % (b"9" * 30),
        GOOD % b"5\r\nContent-Length: 5",
        GOOD % b"5\r\nContent-Length: 6",
        GOOD % b"6\r\nCONTENT-LENGTH: 5",
        GOOD % b"5\r\nTransfer-Encoding: chunked",
        GOOD % b"5\r",
        GOOD % b"\r5",
        GOOD % b"\n5",
        GOOD % b"5\r\n 6",
        GOOD % b"5\x00",
        GOOD.replace(b"Content-Length:", b"Content-Length :") % b"5",
    ],
)
def test_a_good_twin_makes_nothing_acceptable(bad: bytes) -> None:
    known = of_requests()
    with pytest.raises(ProtocolViolation):
        known.parse(bad)
    for digits in (b"5", b"6", b"0", b"17"):
        known.parse(GOOD % digits)
    with pytest.raises(ProtocolViolation):
        known.parse(bad)


def test_a_second_length_of_an_answer_is_refused_each_time() -> None:
    known = of_answers()
    for digits in (b"5", b"6", b"5"):
        with pytest.raises(UpstreamViolation):
            known.parse(ANSWER % (digits + b"\r\nContent-Length: 5"))
        known.parse(ANSWER % digits)


def test_an_answers_length_is_its_own() -> None:
    known = of_answers()
    first, second = known.parse(ANSWER % b"5"), known.parse(ANSWER % b"1234")
    assert (first.length, second.length) == (5, 1234)
    assert second == parse_response_head(ANSWER % b"1234")
    for digits in (b"5", b"6"):
        with pytest.raises(UpstreamViolation):
            known.parse(ANSWER % (digits + b"\r\nTransfer-Encoding: chunked"))


LINES = st.lists(
    st.sampled_from(
        [
            b"Host: h",
            b"Content-Length: 5",
            b"content-length: 5",
            b"Content-Length:17",
            b"Content-Length: 5 ",
            b"CONTENT-LENGTH: 17",
            b"Content-Length: 017",
            b"Content-Length:",
            b"Content-Length: a",
            b"Transfer-Encoding: chunked",
            b"Connection: close",
            b"Connection: content-length",
            b"X-Content-Length: 5",
            b"X: Content-Length: 5",
            b"Expect: 100-continue",
            b" folded: 1",
            b"X: y\rContent-Length: 5",
        ]
    ),
    max_size=5,
)


@settings(max_examples=500)
@given(st.lists(LINES, min_size=1, max_size=12), st.booleans())
def test_whatever_came_before_the_result_is_the_parsers(
    messages: list[list[bytes]], answers: bool
) -> None:
    start = b"HTTP/1.1 200 OK\r\n" if answers else b"POST / HTTP/1.1\r\n"
    known: KnownHeads[ResponseHead] | KnownHeads[RequestHead]
    known = of_answers() if answers else of_requests()
    parse = parse_response_head if answers else parse_request_head
    for lines in messages + messages:
        raw = start + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
        try:
            expected = parse(raw)
        except (ProtocolViolation, UpstreamViolation) as exc:
            with pytest.raises(type(exc), match=re.escape(str(exc))):
                known.parse(raw)
        else:
            assert known.parse(raw) == expected


def test_memory_is_bounded_by_number_and_size() -> None:
    known = of_requests()
    for number in range(3 * MOST):
        known.parse(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % number)
        assert len(known._known) <= MOST
    before = len(known._known)
    known.parse(b"GET / HTTP/1.1\r\nHost: h\r\nX: %b\r\n\r\n" % (b"x" * LARGEST))
    assert len(known._known) == before


def test_what_was_made_of_a_head_is_for_that_client_and_that_purpose() -> None:
    known = of_requests()
    raw = GOOD.replace(b"X: y", b"Accept-Encoding: br, gzip") % b"5"
    one, other = known.parse(raw), known.parse(raw.replace(b"h: 5", b"h: 6"))
    for head, peer, length, readable in (
        (one, "10.0.0.1", 5, True),
        (other, "10.0.0.1", 6, True),
        (one, "10.0.0.2", 5, True),
        (one, "10.0.0.1", None, False),
    ):
        fresh = parse_request_head(raw)
        expected = request_headers(fresh, peer, length, readable_answer=readable)
        for _ in range(2):
            made = request_headers(head, peer, length, readable_answer=readable)
            assert made == expected
            made.append((b"X-Changed", b"by whoever got it"))
    for number in range(2 * MOST_MADE):
        request_headers(one, f"10.0.1.{number}", 5, readable_answer=True)
        assert len(one.made) <= MOST_MADE


def test_headers_of_an_answer_may_be_added_to_by_whoever_gets_them() -> None:
    head = of_answers().parse(ANSWER % b"5")
    response_headers(head).append((b"Content-Length", b"5"))
    assert response_headers(head) == [(b"X", b"y")]


async def test_a_head_that_was_changed_has_nothing_made_of_it_yet() -> None:
    raw = GOOD.replace(b"X: y", b"Content-Encoding: identity") % b"2"
    head = of_requests().parse(raw)
    before = request_headers(head, "h", 2, readable_answer=True)
    changed, _ = await made_plain(head, bytearray(b"{}"))
    after = request_headers(changed, "h", 2, readable_answer=True)
    assert (b"Content-Encoding", b"identity") in before
    assert after == [pair for pair in before if pair[0] != b"Content-Encoding"]


def test_the_module_has_one_of_each_kind() -> None:
    assert known_heads.request_heads.parse(GOOD % b"3").length == 3
    assert known_heads.response_heads.parse(ANSWER % b"3").length == 3
