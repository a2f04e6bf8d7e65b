from __future__ import annotations

import json

import pytest

from llamaswap.error_envelope import envelope
from llamaswap.errors import (
    BadGateway,
    BadRequest,
    LlamaswapError,
    ModelNotLoaded,
    ModelUnknown,
    RequestCancelled,
    ShuttingDown,
    TooManyRequests,
    UpstreamExited,
)


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (BadRequest("x"), 400, "invalid_request_error", "bad_request"),
        (401, 401, "authentication_error", "unauthorized"),
        (403, 403, "authentication_error", "forbidden"),
        (ModelUnknown("x"), 404, "invalid_request_error", "not_found"),
        (405, 405, "invalid_request_error", "method_not_allowed"),
        (ModelNotLoaded("x"), 409, "invalid_request_error", "conflict"),
        (418, 418, "invalid_request_error", "invalid_request"),
        (429, 429, "rate_limit_error", "rate_limit_exceeded"),
        (TooManyRequests(), 429, "rate_limit_error", "concurrency_limit"),
        (RequestCancelled("x"), 499, "invalid_request_error", "request_cancelled"),
        (UpstreamExited("x"), 500, "server_error", "internal_error"),
        (501, 501, "server_error", "internal_error"),
        (BadGateway("x"), 502, "server_error", "bad_gateway"),
        (ShuttingDown(), 503, "server_error", "service_unavailable"),
        (504, 504, "server_error", "gateway_timeout"),
    ],
)
def test_status_decides_type_and_code_unless_the_error_brings_its_own(
    error: LlamaswapError | int, status: int, kind: str, code: str
) -> None:
    answer = envelope(error, "why")
    assert answer.status == status
    assert dict(answer.headers)["Content-Type"] == "application/json"
    assert json.loads(answer.body) == {
        "src": "llama-swap",
        "error": {"message": "why", "type": kind, "param": None, "code": code},
    }


@pytest.mark.parametrize(
    ("accept", "content_type", "body"),
    [
        ("text/plain", "text/plain", b"llama-swap: a <b> & \xc3\xbc"),
        ("text/html, text/plain;q=0.1", "text/plain", b"llama-swap: a <b> & \xc3\xbc"),
        (
            "text/html,*/*",
            "text/html",
            b"<html><body><h1>llama-swap</h1><p>a &lt;b&gt; &amp; &#252;</p></body></html>",
        ),
    ],
)
def test_accept_decides_the_form_by_substring(accept: str, content_type: str, body: bytes) -> None:
    answer = envelope(ModelUnknown("a <b> & ü"), accept=accept)
    assert answer == (404, (("Content-Type", content_type),), body)


@pytest.mark.parametrize("accept", ["*/*", "", "application/json"])
def test_everything_else_gets_json(accept: str) -> None:
    assert json.loads(envelope(404, accept=accept).body)["error"]["message"] == "Not Found"


def test_too_many_requests_is_json_for_everybody_and_says_when_to_come_back() -> None:
    answer = envelope(TooManyRequests(retry_after=3), accept="text/plain")
    assert answer.headers == (("Content-Type", "application/json"), ("Retry-After", "3"))
    assert json.loads(answer.body)["error"]["message"] == "Too many requests"


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens", "/v/messages"])
def test_errors_on_anthropic_paths_carry_the_type_their_clients_look_for(path: str) -> None:
    assert json.loads(envelope(404, "x", path=path).body)["type"] == "error"


def test_errors_elsewhere_do_not_carry_the_anthropic_type() -> None:
    assert "type" not in json.loads(envelope(404, "x", path="/v1/chat/completions").body)


@pytest.mark.parametrize("accept", ["text/plain", "text/html", "application/json"])
def test_a_message_that_is_no_valid_unicode_still_makes_an_answer(accept: str) -> None:
    assert b"model" in envelope(404, "model \udcff", accept=accept).body


def test_an_unknown_status_has_a_message_too() -> None:
    assert json.loads(envelope(599).body)["error"]["message"] == "status 599"
