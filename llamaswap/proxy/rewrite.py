"""What becomes of a request's body and query before they go to their destination.

Source: http-api §2.4.
"""

from __future__ import annotations

from llamaswap.proxy import forms, multipart
from llamaswap.proxy.directory import Destination
from llamaswap.proxy.json_edit import edit
from llamaswap.proxy.resolve import Asked, Source


def rewrite(
    asked: Asked, destination: Destination, body: bytearray, query: str
) -> tuple[bytearray, str]:
    """Body and query as the destination gets them. With nothing to change, they are the same.

    A profile or a selector may have changed the name; it is changed where it was found. A multipart
    body is changed in place.

    Raises:
        EditFailed: what the configuration sets or strips cannot be set or stripped.
    """
    renamed = destination.requested if destination.requested != asked.name else None
    if asked.source is Source.JSON:
        model = destination.body_model or renamed
        if model == asked.name:
            model = None
        if model is None and destination.edits is None:
            return body, query
        return bytearray(edit(body, model, destination.edits)), query
    if asked.source is Source.MULTIPART:
        model = destination.body_model or renamed
        if model is not None:
            multipart.splice(body, asked.fields, model.encode())
        return body, query
    model = destination.query_model or renamed
    if model is None:
        return body, query
    if asked.source is Source.FORM:
        return bytearray(forms.with_value(bytes(body), "model", model)), query
    return body, forms.with_value(query.encode("ascii"), "model", model).decode("ascii")


def rewrite_for_peer(
    asked: Asked | None, destination: Destination, body: bytearray, query: str
) -> tuple[bytearray, str]:
    """The same below `/upstream/<peer model>`, where only the peer's own name is put in.

    It replaces the full name and nothing else: whatever else the client sends is its own affair.
    """
    own = destination.query_model
    if own is None:
        return body, query
    if asked is not None and asked.name == destination.requested:
        plain = Destination(
            asked.name, destination.model, destination.peer, None, own, destination.query_model
        )
        body, query = rewrite(asked, plain, body, query)
    raw = query.encode("ascii")
    if forms.value_of(raw, "model") == destination.requested:
        query = forms.with_value(raw, "model", own).decode("ascii")
    return body, query
