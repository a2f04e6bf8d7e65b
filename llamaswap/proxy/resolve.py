"""Which model a request means. Source: http-api §2.1, §2.2, §1.2 (longest match)."""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, unquote_to_bytes

from attrs import frozen

from llamaswap.config.schema import Config
from llamaswap.errors import ModelUnknown
from llamaswap.proxy import json_body
from llamaswap.proxy.http1 import RequestHead


@frozen
class Asked:
    """What the client asked for."""

    name: str
    stream: bool = False


def asked_in_query(query: str) -> Asked:
    """The first `model` of a query. Raises ModelUnknown if there is none."""
    pairs = dict(reversed(parse_qsl(query, keep_blank_values=True)))
    return _asked(pairs.get("model"), pairs.get("stream") == "true")


def asked_in_body(head: RequestHead, body: bytes | bytearray, query: str) -> Asked:
    """The name in a POST: by content type, with the query as fallback for what is no JSON.

    Raises:
        BadRequest: a JSON body that is none.
        ModelUnknown: nothing names a model.
    """
    if is_json(head.get(b"content-type") or b""):
        found = json_body.peek(body)
        return _asked(found.model, found.stream)
    return asked_in_query(query)


def is_json(content_type: bytes) -> bool:
    """`application/json` or `application/*+json`, in any case."""
    if content_type == b"application/json":
        return True
    kind = content_type.lower()
    if b"application/json" in kind:
        return True
    media = kind.partition(b";")[0].strip()
    return media.startswith(b"application/") and media.endswith(b"+json")


def resolve(config: Config, name: str) -> str:
    """The real id of a local model by id or alias. Raises ModelUnknown."""
    model = config.real_id(name)
    if model is None:
        raise ModelUnknown(f"no router for requested model: {name}")
    return model


@frozen
class Tail:
    """A path below /upstream/, taken apart."""

    model: str
    """Real id."""
    written: str
    """The name as it stands in the path, decoded."""
    raw: str
    """What follows the name, percent-encoded as received; empty or beginning with a slash."""


def split_upstream_path(config: Config, raw: str) -> Tail:
    """Find the longest local name at the front of what follows `/upstream/`.

    Raises ModelUnknown if no prefix of decoded segments is a model.
    """
    best: Tail | None = None
    # an encoded slash separates too: names with slashes may be written either way
    boundaries = [at for at, end in _separators(raw)] + [len(raw)]
    for at in boundaries:
        name = unquote_to_bytes(raw[:at]).decode("utf-8", "replace")
        model = config.real_id(name)
        if model is not None:
            best = Tail(model, name, raw[at:])
    if best is None:
        raise ModelUnknown("model not found")
    if best.raw[:3].lower() == "%2f":
        best = Tail(best.model, best.written, "/" + best.raw[3:])
    return best


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
    path = f"/upstream/{quote(written, safe='/~!$&()*+,;=:@')}/"
    return f"{path}?{query}" if query else path


def _asked(name: str | None, stream: bool) -> Asked:
    if not name:
        raise ModelUnknown("no model id could be identified")
    return Asked(name, stream)
