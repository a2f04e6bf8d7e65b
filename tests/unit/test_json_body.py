"""The model's name in a JSON body. Source: http-api §2.1, §2.4."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap.errors import BadRequest
from llamaswap.proxy.json_body import members, peek
from llamaswap.proxy.json_edit import edit

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "model", 'q"{', "\\", "ü"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=6) | st.just("model"), JSON, max_size=5), st.booleans())
def test_members_are_found_where_they_stand(value: dict[str, Any], ascii_only: bool) -> None:
    for separators in ((",", ":"), (" ,\n", " : ")):
        body = json.dumps(value, ensure_ascii=ascii_only, separators=separators).encode(
            "utf-8", "surrogatepass"
        )
        try:
            body.decode("utf-8")
        except UnicodeDecodeError:
            return
        found = [(m.key, json.loads(body[m.start : m.end])) for m in members(body)]
        assert found == list(value.items())


@given(st.dictionaries(st.sampled_from(["a", "model", "b"]), JSON, max_size=3), st.text(max_size=9))
def test_replacing_the_name_changes_nothing_else(value: dict[str, Any], name: str) -> None:
    name = name.encode("utf-8", "replace").decode()
    body = json.dumps(value).encode()
    expected = value | {"model": name} if "model" in value else value
    assert json.loads(edit(body, name, None)) == expected
    assert list(json.loads(edit(body, name, None))) == list(value)


def test_every_duplicate_is_replaced() -> None:
    assert edit(b'{"model":1,"model":{"a":[]}}', "x", None) == b'{"model":"x","model":"x"}'


@pytest.mark.parametrize(
    ("stream", "wanted"),
    [("true", True), ("false", False), ("1", True), ("0", False), ('"T"', True), ('"no"', False)],
)
def test_what_counts_as_streaming(stream: str, wanted: bool) -> None:
    assert peek(f'{{"model":"m","stream":{stream}}}'.encode()).stream is wanted


def test_deep_nesting_is_refused_or_read_but_never_crashes() -> None:
    deep = b'{"model":"m","a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    try:
        assert peek(deep).model == "m"
    except BadRequest:
        pass


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_long_strings_and_many_members_are_walked(size: int) -> None:
    body = b'{"x":"' + b"\\u0041" * size + b'","model":"a","model":"b"}'
    assert peek(body).model == "a"


@pytest.mark.parametrize(
    "body",
    [
        rb'{"model":"m","x":"cut \ud83d"}',
        rb'{"\ud83d":1,"model":"m"}',
        rb'{"a":"\uDE00","model":"m","model":"n"}',
        b'\xef\xbb\xbf{"model":"m"}',
        b'\xef\xbb\xbf {"a":"\\ud83d","model":"m","stream":true}',
    ],
)
def test_half_an_emoji_and_a_byte_order_mark_are_no_reason_to_refuse(body: bytes) -> None:
    assert peek(body).model == "m"
    assert edit(body, "other", None) == body.replace(b'"m"', b'"other"').replace(b'"n"', b'"other"')


def test_a_name_that_is_half_an_emoji_is_a_name_nobody_has() -> None:
    assert peek(rb'{"model":"m\ud83d"}').model == "m?"


@pytest.mark.parametrize(
    "body",
    [
        rb'{"model":"m","x":"\ud83d}',
        rb'{"model":"m","x":"\ud83d","y":NaN}',
        b'\xef\xbb\xbf{"model":"m"',
        b'{"model":"m","y":NaN}',
        '{"model":"m"}'.encode("utf-16"),
    ],
)
def test_what_is_no_json_stays_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match="not valid JSON"):
        peek(body)
