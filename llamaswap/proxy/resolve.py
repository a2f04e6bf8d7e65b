"""Which model a request means. Source: http-api §2.1, §2.2, §1.2 (longest match)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from urllib.parse import quote, unquote_to_bytes

import msgspec
from attrs import frozen

from llamaswap.config.schema import Selector
from llamaswap.errors import BadRequest, ModelUnknown
from llamaswap.proxy import forms, json_body
from llamaswap.proxy.directory import Destination, Directory
from llamaswap.proxy.http1 import RequestHead
from llamaswap.proxy.multipart import Part, boundary_of, fields_named
from llamaswap.proxy.selectors import Selectors, StateOf

NO_NAME = "no model id could be identified"
_SAFE = "/~!$&()*+,;=:@"
"""Characters a model's name may hold unescaped in a path."""


class Source(Enum):
    """Where the name was found, and so where another one is put in its place."""

    JSON = "json"
    MULTIPART = "multipart"
    FORM = "form"
    QUERY = "query"


class Asked(msgspec.Struct, frozen=True):
    """What the client asked for."""

    name: str
    stream: bool = False
    source: Source = Source.JSON
    fields: tuple[Part, ...] = ()
    """Where `model` stands in a multipart body."""


class RouterUnknown(ModelUnknown):
    """A name was given, and nothing answers to it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no router for requested model: {name}")
        self.name = name


def asked_in_query(query: str) -> Asked:
    """The first `model` of a query. Raises ModelUnknown if there is none."""
    raw = query.encode("ascii")
    stream = forms.value_of(raw, "stream") == "true"
    return _asked(forms.value_of(raw, "model"), stream, Source.QUERY)


def asked_in_body(head: RequestHead, body: bytes | bytearray, query: str) -> Asked:
    """The name in a POST: by content type, with the query as fallback for what is no JSON.

    Raises:
        BadRequest: a JSON body that is none.
        ModelUnknown: nothing names a model.
    """
    kind = head.get(b"content-type") or b""
    if is_json(kind):
        found = json_body.peek(body)
        return _asked(found.model, found.stream)
    form = kind.lower()
    if b"multipart/form-data" in form:
        return _asked_in_multipart(kind, body, query)
    try:
        if b"application/x-www-form-urlencoded" in form:
            return _asked_in_form(body, query)
        return asked_in_query(query)
    except ModelUnknown as exc:
        if body.lstrip()[:1] != b"{":
            raise
        what = f"Content-Type is '{kind.decode('latin-1')}'" if kind else "Content-Type is missing"
        hint = f"{what}; JSON is read with 'Content-Type: application/json'"
        raise ModelUnknown(f"{NO_NAME} ({hint})") from exc


def _asked_in_multipart(kind: bytes, body: bytes | bytearray, query: str) -> Asked:
    boundary = boundary_of(kind)
    fields = fields_named(body, boundary, "model", "stream") if boundary is not None else []
    models = tuple(part for part in fields if part.name == "model")
    streams = [part for part in fields if part.name == "stream"]
    stream = any(body[part.start : part.end] == b"true" for part in streams[:1])
    if models and (name := bytes(body[models[0].start : models[0].end])):
        return Asked(name.decode("utf-8", "replace"), stream, Source.MULTIPART, models)
    return asked_in_query(query)


def _asked_in_form(body: bytes | bytearray, query: str) -> Asked:
    """A form; or JSON that came without its content type, as `curl -d` sends it."""
    if body.lstrip()[:1] == b"{":
        try:
            found = json_body.peek(body)
        except BadRequest:
            return asked_in_query(query)
        return _asked(found.model, found.stream)
    raw = bytes(body)
    name = forms.value_of(raw, "model")
    if not name:
        return asked_in_query(query)
    return Asked(name, forms.value_of(raw, "stream") == "true", Source.FORM)


def is_json(content_type: bytes) -> bool:
    """`application/json` or `application/*+json`, in any case."""
    if content_type == b"application/json":
        return True
    kind = content_type.lower()
    if b"application/json" in kind:
        return True
    media = kind.partition(b";")[0].strip()
    return media.startswith(b"application/") and media.endswith(b"+json")


def destination(
    name: str,
    directory: Directory,
    pins: Mapping[str, str],
    selectors: Selectors,
    state: StateOf,
) -> tuple[Destination, Selector | None]:
    """Where a request for `name` goes, and the selector that said so.

    `pins`: of the active profile. A selector's request still has to be reserved.

    Raises:
        RouterUnknown: nothing has that name.
        ModelUnknown: the active profile switches the name off.
        NoTarget: the selector has no target left.
    """
    if pins:
        name = pinned(name, pins)
    selector = directory.selectors.get(name)
    if selector is not None:
        name = selectors.choose(selector, directory.resolved, state)
    found = directory.find(name)
    if found is None:
        raise RouterUnknown(name)
    return found, selector


def pinned(name: str, pins: Mapping[str, str]) -> str:
    """`name`, or what the active profile puts in its place. Raises ModelUnknown."""
    target = pins.get(name)
    if target is None:
        return name
    if not target:
        raise ModelUnknown(NO_NAME)
    return target


@frozen
class Tail:
    """A path below /upstream/, taken apart."""

    destination: Destination
    written: str
    """The name as it stands in the path, decoded."""
    raw: str
    """What follows the name, percent-encoded as received; empty or beginning with a slash."""


def split_upstream_path(directory: Directory, pins: Mapping[str, str], raw: str) -> Tail:
    """Find the longest name at the front of what follows `/upstream/`.

    Raises ModelUnknown if no prefix of decoded segments is a model.
    """
    if pins:
        raw = _pinned_path(raw, pins)
    best: Tail | None = None
    for name, rest in _prefixes(raw):
        found = directory.find(name)
        if found is not None:
            best = Tail(found, name, rest)
    if best is None:
        raise ModelUnknown("model not found")
    return best


def _pinned_path(raw: str, pins: Mapping[str, str]) -> str:
    """The path with the longest pin at its front replaced. Raises ModelUnknown."""
    result = raw
    for name, rest in _prefixes(raw):
        target = pins.get(name)
        if target is not None:
            result = quote(target, safe=_SAFE) + rest if target else ""
    if not result and raw:
        raise ModelUnknown("model not found")
    return result


def _prefixes(raw: str) -> list[tuple[str, str]]:
    """Decoded names that may stand at the front of a path, shortest first, and what follows.

    An encoded slash separates too: names with slashes may be written either way.
    """
    found = [
        (raw[:at], "/" + raw[end:] if raw[at] == "%" else raw[at:]) for at, end in _separators(raw)
    ]
    return [
        (unquote_to_bytes(name).decode("utf-8", "replace"), rest)
        for name, rest in (*found, (raw, ""))
    ]


def _separators(raw: str) -> list[tuple[int, int]]:
    found = []
    at = 0
    while at < len(raw):
        if raw[at] == "/":
            found.append((at, at + 1))
            at += 1
        elif raw[at : at + 3].lower() == "%2f":
            found.append((at, at + 3))
            at += 3
        else:
            at += 1
    return found


def upstream_redirect(written: str, query: str) -> str:
    """Where `/upstream/<model>` without a slash leads, reserved characters encoded again."""
    path = f"/upstream/{quote(written, safe=_SAFE)}/"
    return f"{path}?{query}" if query else path


def _asked(name: str | None, stream: bool, source: Source = Source.JSON) -> Asked:
    if not name:
        raise ModelUnknown(NO_NAME)
    return Asked(name, stream, source)
