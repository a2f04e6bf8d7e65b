"""Multipart bodies: finding fields, changing one. Source: http-api §2.1, §2.4."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap.proxy.multipart import boundary_of, fields_named, splice


def part(disposition: str, content: bytes, more: str = "") -> bytes:
    head = f"--XX\r\nContent-Disposition: form-data; {disposition}\r\n{more}\r\n"
    return head.encode() + content + b"\r\n"


def closed(*parts: bytes) -> bytearray:
    return bytearray(b"".join(parts) + b"--XX--\r\n")


def values(body: bytes | bytearray, *names: str) -> list[bytes]:
    return [bytes(body[p.start : p.end]) for p in fields_named(body, b"XX", *names)]


@pytest.mark.parametrize(
    ("header", "boundary"),
    [
        (b"multipart/form-data; boundary=XX", b"XX"),
        (b'multipart/form-data; charset=utf-8; Boundary="X X"', b"X X"),
        (b'multipart/form-data; boundary="a\\"b"; x=1', b'a"b'),
        (b"multipart/form-data", None),
        (b"multipart/form-data; boundary=", None),
        (b'multipart/form-data; boundary=""', None),
        (b"multipart/form-data; xboundary=a", None),
    ],
)
def test_the_boundary_is_read_from_the_header(header: bytes, boundary: bytes | None) -> None:
    assert boundary_of(header) == boundary


@pytest.mark.parametrize(
    "disposition",
    ['name="model"', "name=model", 'NAME="model"', 'x=1; name="model"', 'name="mod\\el"'],
)
def test_a_field_is_found_however_its_name_is_written(disposition: str) -> None:
    assert values(closed(part(disposition, b"m")), "model") == [b"m"]


def test_what_is_no_such_field() -> None:
    body = closed(
        part('name="model"; filename="model.txt"', b"file"),
        part("filename*=UTF-8''x; name=\"model\"", b"file"),
        part('name="models"', b"x"),
        b'--XX\r\nX-Name: name="model"\r\n\r\nno disposition\r\n',
        b"--XX\r\n\r\nno headers\r\n",
        part('name="text"', b'--XY\r\nname="model"'),
    )
    assert values(body, "model") == []
    assert values(body, "text") == [b'--XY\r\nname="model"']


def test_all_of_a_name_are_found_in_order_and_content_may_be_empty() -> None:
    body = closed(
        part('name="model"', b""),
        part('name="stream"', b"true"),
        part('name="model"', b"two\r\nlines", "Content-Type: text/plain\r\n"),
    )
    assert values(body, "model") == [b"", b"two\r\nlines"]
    assert values(body, "model", "stream") == [b"", b"true", b"two\r\nlines"]


def test_blanks_behind_a_boundary_and_words_that_begin_like_it() -> None:
    body = bytearray(
        b'\r\n--XX \t\r\nContent-Disposition: form-data; name="model"\r\n\r\na\r\n--XXY\r\nb'
        b"\r\n--XX--"
    )
    assert values(body, "model") == [b"a\r\n--XXY\r\nb"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no boundary at all",
        part('name="model"', b"m"),  # never closed
        b'--XX\r\nContent-Disposition: form-data; name="model"\r\n--XX--\r\n',  # head never ends
        b"--XX junk\r\n\r\nx\r\n--XX--\r\n",
        closed(part('name="model"', b"m")) + b"x" * 5000,  # a tail, where nobody looks
    ],
)
def test_what_cannot_be_read_has_no_fields(body: bytes) -> None:
    assert values(body, "model") == []


def test_only_the_field_changes() -> None:
    before = part('name="a"; filename="b\\"c.wav"', b"\0\r\n--X", "Content-Type: audio/wav\r\n")
    after = part('name="language"', b"en") + part('name="model"', b"second")
    body = bytearray(before + part('name="model"', b"m", "X-Y:  z\r\n") + after + b"--XX--\r\nend")
    splice(body, fields_named(body, b"XX", "model"), b"another")
    assert body == (
        before
        + part('name="model"', b"another", "X-Y:  z\r\n")
        + part('name="language"', b"en")
        + part('name="model"', b"another")
        + b"--XX--\r\nend"
    )


@given(st.binary(max_size=300), st.lists(st.sampled_from([b"--XX", b"--", b"\r\n", b"XX"])))
def test_arbitrary_bytes_never_crash_it(noise: bytes, marks: list[bytes]) -> None:
    body = bytearray(b"--XX\r\n" + b"".join(mark + noise[:20] for mark in marks) + b"--XX--")
    for found in fields_named(body, b"XX", "model"):
        assert 0 <= found.start <= found.end <= len(body)


@given(st.lists(st.tuples(st.sampled_from(["model", "x"]), st.binary(max_size=30)), max_size=5))
def test_what_is_written_is_found(fields: list[tuple[str, bytes]]) -> None:
    fields = [(name, content) for name, content in fields if b"\r\n--XX" not in content]
    body = closed(*(part(f'name="{name}"', content) for name, content in fields))
    assert values(body, "model") == [content for name, content in fields if name == "model"]
