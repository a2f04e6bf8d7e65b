"""What an activity store recorded, as a list of requests. Reads only. Source: telemetry §5."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from attrs import frozen

from llamaswap.errors import LlamaswapError


@frozen
class PastRequest:
    """One row, as far as it tells when a model had to work and for how long; Unix seconds."""

    model: str
    arrived: float
    service: float
    """Seconds of work: from the token counts and speeds where the server reported them, else the
    whole duration, which includes waiting and loading."""


def past_requests(path: Path) -> list[PastRequest]:
    """Every recorded request, the oldest first.

    Raises:
        LlamaswapError: there is no such store, or it is none of ours.
    """
    if not path.is_file():
        raise LlamaswapError(f"{path}: there is no activity store")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as store:
            rows = store.execute(
                "SELECT model_id, ts_created, duration_ms, input_tokens, cache_tokens,"
                " output_tokens, prompt_per_second, tokens_per_second"
                " FROM activity ORDER BY ts_created, id"
            ).fetchall()
    except sqlite3.Error as exc:
        raise LlamaswapError(f"{path}: cannot be read as an activity store: {exc}") from exc
    return sorted((_request(*row) for row in rows), key=lambda request: request.arrived)


def _request(
    model: str,
    created: int,
    duration_ms: int,
    input_tokens: int,
    cache_tokens: int,
    output_tokens: int,
    prompt_speed: float,
    speed: float,
) -> PastRequest:
    duration = max(duration_ms, 0) / 1000
    service = duration
    if speed > 0 and output_tokens > 0:
        fresh = max(input_tokens - max(cache_tokens, 0), 0)
        prompt = fresh / prompt_speed if prompt_speed > 0 else 0.0
        service = min(duration, prompt + output_tokens / speed)
    return PastRequest(model, created - duration, service)
