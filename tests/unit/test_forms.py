"""Fields of queries and urlencoded bodies. Source: http-api §2.1, §2.4."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap.proxy.forms import value_of, with_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"model=a", "a"),
        (b"x=1&model=a&model=b", "a"),
        (b"model=a%2Fb+c%20d", "a/b c d"),
        (b"m%6fdel=a", "a"),
        (b"model=", ""),
        (b"model", ""),
        (b"models=a&xmodel=b", None),
        (b"", None),
        (b"&&model=%C3%A9&", "é"),
        (b"model=a=b", "a=b"),
    ],
)
def test_the_first_field_of_a_name_counts(text: bytes, value: str | None) -> None:
    assert value_of(text, "model") == value


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (b"model=a", b"model=n/w:x"),
        (b"b=%20&model=a&a=1;2", b"b=%20&model=n/w:x&a=1;2"),
        (b"model=a&x&model=b", b"model=n/w:x&x&model=n/w:x"),
        (b"model&x=1", b"model=n/w:x&x=1"),
        (b"m%6fdel=a", b"m%6fdel=n/w:x"),
        (b"x=1", b"x=1"),
        (b"", b""),
    ],
)
def test_only_the_value_changes(text: bytes, wanted: bytes) -> None:
    assert with_value(text, "model", "n/w:x") == wanted


@given(st.lists(st.tuples(st.sampled_from(["model", "x"]), st.text(max_size=5))), st.text())
def test_any_name_arrives_as_it_is(fields: list[tuple[str, str]], name: str) -> None:
    from urllib.parse import urlencode

    name = name.encode("utf-8", "replace").decode()
    text = urlencode([(k, v.encode("utf-8", "replace")) for k, v in fields]).encode()
    found = parse_qsl(with_value(text, "model", name).decode(), keep_blank_values=True)
    before = parse_qsl(text.decode(), keep_blank_values=True)
    assert found == [(k, name if k == "model" else v) for k, v in before]
