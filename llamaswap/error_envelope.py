"""The one shape of every error answer we make. Pure, and usable from both HTTP planes.

Source: http-api §1.4; decision 10 (errors on `/v1/messages*` read well for Anthropic clients too).
"""

from __future__ import annotations

import html
import json
from http import HTTPStatus
from typing import NamedTuple

from llamaswap.errors import LlamaswapError, TooManyRequests

ANTHROPIC_PATHS = ("/v1/messages", "/v/messages")

_CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    429: "rate_limit_exceeded",
    502: "bad_gateway",
    503: "service_unavailable",
    504: "gateway_timeout",
}


class ErrorAnswer(NamedTuple):
    """A complete answer, but for its framing: whoever sends it adds `Content-Length`."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def envelope(
    error: LlamaswapError | int, message: str | None = None, accept: str = "", path: str = ""
) -> ErrorAnswer:
    """Make the answer for `error`: one of our errors, or a bare HTTP status.

    `message` None: the error's own text, or the standard phrase of the status. `accept`: the
    request's `Accept` header, all values joined. `path`: the decoded path of the request, without
    query. Never fails, whatever characters the message holds.
    """
    status = error if isinstance(error, int) else error.status
    if message is None:
        message = _phrase(status) if isinstance(error, int) else str(error)
    headers: tuple[tuple[str, str], ...] = ()
    if isinstance(error, TooManyRequests):
        headers = (("Retry-After", str(error.retry_after)),)
    if status != 429:  # SDKs back off by what the JSON says, so 429 is never anything else
        if "text/plain" in accept:
            body = f"llama-swap: {message}".encode(errors="replace")
            return ErrorAnswer(status, (("Content-Type", "text/plain"), *headers), body)
        if "text/html" in accept:
            return ErrorAnswer(status, (("Content-Type", "text/html"), *headers), _page(message))
    body = json.dumps(error_document(error, message, path)).encode()
    return ErrorAnswer(status, (("Content-Type", "application/json"), *headers), body)


def error_document(error: LlamaswapError | int, message: str, path: str = "") -> dict[str, object]:
    """Return what the JSON form says: `{"src": str, "error": {"message": str, "type": str, …}}`."""
    status = error if isinstance(error, int) else error.status
    own_code = None if isinstance(error, int) else error.code
    document: dict[str, object] = {
        "src": "llama-swap",
        "error": {
            "message": message,
            "type": _type_of(status),
            "param": None,
            "code": own_code or _code_of(status),
        },
    }
    if path.startswith(ANTHROPIC_PATHS):
        document["type"] = "error"
    return document


def _type_of(status: int) -> str:
    if status in (401, 403):
        return "authentication_error"
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"


def _code_of(status: int) -> str:
    return _CODES.get(status) or ("internal_error" if status >= 500 else "invalid_request")


def _page(message: str) -> bytes:
    text = f"<html><body><h1>llama-swap</h1><p>{html.escape(message)}</p></body></html>"
    # The content type names no charset, so the page is pure ASCII.
    return text.encode("ascii", "xmlcharrefreplace")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"status {status}"
