"""One row of activity: what a finished request was, took and said. Source: http-api §7.1."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import msgspec

from llamaswap.errors import ShuttingDown, TooManyRequests
from llamaswap.telemetry.observation import Ending, Observation, Outcome
from llamaswap.telemetry.response_body import ResponseReader
from llamaswap.telemetry.usage import Tokens

ERROR_LIMIT = 500
"""Bytes of an error message that are kept."""
CLIENT_GONE = 499
NOT_ACCEPTED = (TooManyRequests, ShuttingDown)
"""Errors of requests that their model did not accept."""


class ActivityRow(msgspec.Struct, frozen=True):
    """A row as it is stored; `id` 0: not yet."""

    created: int
    """Unix seconds: the end of the request."""
    model: str
    req_path: str
    resp_content_type: str
    resp_status_code: int
    duration_ms: int
    tokens: Tokens = Tokens()
    error: str = ""
    metadata: Mapping[str, str] = {}
    id: int = 0


def make_row(
    observation: Observation, ending: Ending, reader: ResponseReader, ended: float
) -> ActivityRow:
    """The row of an exchange. `reader` has read all that was sent; `ended`: Unix seconds."""
    tokens = reader.usage.result()
    status = ending.status
    metadata = observation.metadata
    if ending.outcome is not Outcome.COMPLETE:
        if ending.outcome in (Outcome.LEFT, Outcome.CANCELLED):
            status = CLIENT_GONE
        if isinstance(ending.error, NOT_ACCEPTED):
            metadata = {key: value for key, value in metadata.items() if key != "fifo_priority"}
    duration = ending.duration * 1000
    if tokens.took_ms > duration:
        duration = min(tokens.took_ms, 1e15)
    return ActivityRow(
        int(ended),
        observation.model,
        observation.sent_path or observation.path,
        content_type(observation),
        status,
        int(duration),
        tokens,
        _error(ending, status, reader),
        metadata,
    )


def content_type(observation: Observation) -> str:
    """`Content-Type` of the response; empty: none."""
    kind = observation.content_type
    if kind is None:
        kind = header_of(observation, b"content-type")
        if observation.status:
            observation.content_type = kind
    return kind


def header_of(observation: Observation, wanted: bytes) -> str:
    """The first value of a response header by its lower-case name; empty: none."""
    for name, value in observation.response_fields:
        if name.lower() == wanted:
            return value.decode("utf-8", "replace")
    return ""


def is_success(status: int) -> bool:
    """Any 2xx."""
    return 200 <= status < 300


def activity_body(row: ActivityRow, *, has_capture: bool) -> dict[str, Any]:
    """A row as JSON."""
    tokens = row.tokens
    body: dict[str, Any] = {
        "id": row.id,
        "timestamp": f"{datetime.fromtimestamp(row.created, UTC):%Y-%m-%dT%H:%M:%SZ}",
        "model": row.model,
        "req_path": row.req_path,
        "resp_content_type": row.resp_content_type,
        "resp_status_code": row.resp_status_code,
        "tokens": {
            "cache_tokens": tokens.cached,
            "draft_tokens": tokens.drafted,
            "draft_acc_tokens": tokens.accepted,
            "input_tokens": tokens.input,
            "output_tokens": tokens.output,
            "prompt_per_second": tokens.prompt_speed,
            "tokens_per_second": tokens.speed,
        },
        "duration_ms": row.duration_ms,
        "has_capture": has_capture,
    }
    if row.error:
        body["error_msg"] = row.error
    if row.metadata:
        body["metadata"] = dict(row.metadata)
    return body


def _error(ending: Ending, status: int, reader: ResponseReader) -> str:
    match ending.outcome:
        case Outcome.COMPLETE:
            if is_success(status):
                if reader.unreadable:
                    return shortened(f"response decompression failed: {reader.unreadable}")
                return ""
            if reader.unreadable:
                return shortened(f"response decode failed: {reader.unreadable}")
            return shortened(message_in(reader.body) or phrase(status))
        case Outcome.LEFT | Outcome.CANCELLED:
            return str(ending.outcome.value)
        case Outcome.REFUSED | Outcome.CUT:
            return shortened(str(ending.error) or phrase(status))


def message_in(body: bytes | bytearray) -> str:
    """What a JSON error says; empty: nothing that we find."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    if not isinstance(document, dict):
        return ""
    error = document.get("error")
    inner = error.get("message") if isinstance(error, dict) else None
    candidates: tuple[object, ...]
    candidates = (inner, error, document.get("message"), document.get("detail"))
    for candidate in candidates:
        if isinstance(candidate, str) and candidate.strip():
            return candidate.strip()
    return ""


def phrase(status: int) -> str:
    """`502 Bad Gateway`, or `HTTP 599` for what has no name."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"


def shortened(text: str) -> str:
    """`text`, cut to 500 bytes and dots."""
    data = text.encode(errors="replace")
    if len(data) <= ERROR_LIMIT:
        return text
    return data[:ERROR_LIMIT].decode(errors="ignore") + "..."
