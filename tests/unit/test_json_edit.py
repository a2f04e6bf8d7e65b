"""Changing JSON bodies without touching what need not change. Source: http-api §2.4."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap.proxy.json_edit import EditFailed, Edits, edit

UNUSUAL = (
    b' {\t"model" : "m" ,\n"n":1.0,"big":12345678901234567890,"e":3e5,"s":"\\u00e9\\/", "z":[ ] } '
)


def put(body: str, path: str, value: Any) -> str:
    return bytes(edit(body.encode(), None, Edits.of((), {path: value}))).decode()


def strip(body: str, path: str) -> str:
    return bytes(edit(body.encode(), None, Edits.of((path,)))).decode()


def test_with_nothing_to_change_every_byte_stays() -> None:
    assert edit(UNUSUAL, None, None) == UNUSUAL
    assert edit(UNUSUAL, None, Edits.of(("absent", "z.0", "n.x", "model"))) == UNUSUAL


def test_only_the_value_of_the_name_changes() -> None:
    assert edit(UNUSUAL, "é", None) == UNUSUAL.replace(b'"m"', '"é"'.encode())


@pytest.mark.parametrize(
    ("body", "path", "wanted"),
    [
        ('{"a":1}', "b.c", '{"a":1,"b":{"c":9}}'),
        ('{"a":1}', "a.c", '{"a":{"c":9}}'),
        ('{"a":null}', "a.c", '{"a":{"c":9}}'),
        ('{"a":"x"}', "a.0", '{"a":[9]}'),
        ('{"a":{"x":[1]}}', "a.x.-1", '{"a":{"x":[1,9]}}'),
        ("{}", "b.0", '{"b":[9]}'),
        ("{}", "b.2", '{"b":[null,null,9]}'),
        ("{}", "b.-1", '{"b":[9]}'),
        ("{}", "b.:1", '{"b":{"1":9}}'),
        ('{"b":[1,2]}', "b.-1", '{"b":[1,2,9]}'),
        ('{"b":[1,2]}', "b.4", '{"b":[1,2,null,null,9]}'),
        ('{"b":[1, 2]}', "b.1", '{"b":[1, 9]}'),
        ('{"b":[1,{"x":2}]}', "b.1.x", '{"b":[1,{"x":9}]}'),
        ('{"b":[1]}', "b.3.y", '{"b":[1,null,null,{"y":9}]}'),
        ('{"b":{}}', "b.1", '{"b":{"1":9}}'),
        ('{"b":{}}', "b.-1", '{"b":{"-1":9}}'),
        ('{"a":1}', "a\\.b", '{"a":1,"a.b":9}'),
        ('{"a":1}', "b\\*", '{"a":1,"b*":9}'),
        ('{"a":1}', ":5", '{"a":1,"5":9}'),
        ('{"a":1 , "b" : 2 }', "b", '{"a":1 , "b" : 9 }'),
        ('{"a":1,"b":0,"a":2}', "a", '{"a":9,"b":0,"a":9}'),
        ('{"\\u0061":1}', "a", '{"\\u0061":9}'),
        ('{"a":[[{"b":"]}"}]],"c":2}', "c", '{"a":[[{"b":"]}"}]],"c":9}'),
    ],
)
def test_where_a_value_is_set(body: str, path: str, wanted: str) -> None:
    assert put(body, path, 9) == wanted


@pytest.mark.parametrize("path", ["*", "a.#", "a?", "b|c", "@this", "b.*", "b#c"])
def test_setting_a_path_with_a_wildcard_does_nothing(path: str) -> None:
    assert put('{"a":1}', path, 9) == '{"a":1}'


@pytest.mark.parametrize("path", ["a.x", "a.1x", "a.x.y"])
def test_a_name_in_an_array_cannot_be_set(path: str) -> None:
    with pytest.raises(EditFailed, match=r"error setting parameter a.+ in request") as caught:
        put('{"a":[1]}', path, 9)
    assert caught.value.status == 500


@pytest.mark.parametrize(
    ("body", "path", "wanted"),
    [
        ('{"a":1,"b":2}', "a", '{"b":2}'),
        ('{"a":1,"b":2}', "b", '{"a":1}'),
        ('{ "a":1, "b":2, "c":3 }', "b", '{ "a":1, "c":3 }'),
        ('{ "a":1, "b":2 }', "a", '{ "b":2 }'),
        ('{"a":1}', "a", "{}"),
        ('{"a":1,"b":0,"a":2}', "a", '{"b":0}'),
        ('{"a":{"t":1},"a":{"t":2,"u":3}}', "a.t", '{"a":{},"a":{"u":3}}'),
        ('{"a":[1,2,3]}', "a.0", '{"a":[2,3]}'),
        ('{"a":[1, 2, 3]}', "a.1", '{"a":[1, 3]}'),
        ('{"a":[1,2,3]}', "a.-1", '{"a":[1,2]}'),
        ('{"a":[1]}', "a.-1", '{"a":[]}'),
        ('{"a":[{"b":1},{"b":2}]}', "a.1.b", '{"a":[{"b":1},{}]}'),
        ('{"a":[1,2,3]}', "a.7", '{"a":[1,2,3]}'),
        ('{"a":[]}', "a.-1", '{"a":[]}'),
        ('{"a":[1]}', "a.x", '{"a":[1]}'),
        ('{"a":1}', "a.b", '{"a":1}'),
        ('{"a.b":1}', "a\\.b", "{}"),
        ('{"5":1}', ":5", "{}"),
    ],
)
def test_what_is_stripped(body: str, path: str, wanted: str) -> None:
    assert strip(body, path) == wanted


@pytest.mark.parametrize("path", ["*", "a.#", "a|b", "@x", "a?"])
def test_a_path_with_a_wildcard_cannot_be_stripped(path: str) -> None:
    with pytest.raises(EditFailed, match=r"error stripping parameter .+ from request"):
        strip('{"a":1}', path)


def test_stripping_comes_first_and_later_layers_win() -> None:
    edits = Edits.of(("a", "b"), {"b": 1, "a": 1, "model": "no"}, {"a": 2, "model": "no"})
    assert edit(b'{"model":"m","b":0,"a":0}', "x", edits) == b'{"model":"x","a":2,"b":1}'
    assert not Edits.of(("model",), {"model": 1})


def test_a_key_that_is_half_a_surrogate_stays_as_it_is() -> None:
    body = b'{"\\ud800":[1,2],"a":{"b":1},"a":2}'
    assert edit(body, None, Edits.of(("a",))) == b'{"\\ud800":[1,2]}'


def test_a_shorter_duplicate_hides_nothing() -> None:
    """The parser in C knows the last duplicate only; the walk must not trust it for the others."""
    for first, last in (("[1,2]", "[1]"), ('{"x":{}}', "{}"), ("12", "1"), ("[1]", '"[1]"')):
        body = f'{{"a":{first},"t":1,"a":{last}}}'
        assert strip(body, "t") == f'{{"a":{first},"a":{last}}}'


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc0"), inner, max_size=3)
    ),
    max_leaves=10,
)
OBJECTS = st.dictionaries(st.sampled_from(["a", "b", "c", "model", "0"]), JSON, max_size=5)
PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(".".join)


def set_plainly(where: Any, steps: list[str], value: Any) -> Any:
    """What setting means, on Python's own values; an array in the way is not touched here."""
    if not steps:
        return value
    inner = where if isinstance(where, dict) else {}
    return {**inner, steps[0]: set_plainly(inner.get(steps[0]), steps[1:], value)}


def strip_plainly(where: Any, steps: list[str]) -> Any:
    if not isinstance(where, dict) or steps[0] not in where:
        return where
    if len(steps) > 1:
        return {**where, steps[0]: strip_plainly(where[steps[0]], steps[1:])}
    return {key: value for key, value in where.items() if key != steps[0]}


@given(OBJECTS, PATHS, JSON, st.booleans())
def test_setting_does_what_it_does_to_values(
    body: dict[str, Any], path: str, value: Any, spaced: bool
) -> None:
    text = json.dumps(body, indent=2 if spaced else None)
    try:
        result = put(text, path, value)
    except EditFailed:
        return  # an array stands in the way
    wanted = set_plainly(body, path.split("."), value)
    assert json.loads(result) == wanted
    assert list(json.loads(result)) == list(wanted)


@given(OBJECTS, PATHS, st.booleans())
def test_stripping_does_what_it_does_to_values(
    body: dict[str, Any], path: str, spaced: bool
) -> None:
    text = json.dumps(body, indent=2 if spaced else None)
    assert json.loads(strip(text, path)) == strip_plainly(body, path.split("."))
