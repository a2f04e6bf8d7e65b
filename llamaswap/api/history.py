"""`GET /api/events/history`, and the facts about a model that states alone do not tell.

Source: web-ui §0.1.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import quart

from llamaswap.api.app import ControlPlane, Surroundings, json_response
from llamaswap.config.schema import Model
from llamaswap.errors import BadRequest
from llamaswap.nursery.facts import UpstreamFacts
from llamaswap.telemetry.lifecycle import KEPT, Lifecycle, Transition
from llamaswap.telemetry.samples import ModelMemory

FAILURE_LENGTH = 4_000
"""Characters of a failure that are shown; it ends with the last lines of the child's output."""


def add_routes(app: ControlPlane, around: Surroundings) -> None:
    """`GET /api/events/history[?limit=N][&model=ID]`: the last N changes, oldest first."""

    async def history() -> quart.Response:
        limit = _limit(quart.request.args.get("limit", ""))
        model = quart.request.args.get("model", "")
        kept = around.lifecycle.latest()
        chosen = [change for change in kept if not model or change.model == model][-limit:]
        return json_response({"events": [transition_body(change) for change in chosen]})

    app.add_url_rule("/api/events/history", "history", history, methods=["GET"])


def transition_body(change: Transition) -> dict[str, Any]:
    """One change as JSON: `{"at", "model", "state", "reason"?, "exit_code"?}`."""
    body: dict[str, Any] = {"at": _moment(change.time), "model": change.model}
    body["state"] = change.state
    if change.reason:
        body["reason"] = change.reason
    if change.exit_code is not None:
        body["exit_code"] = change.exit_code
    return body


def model_facts(model: Model, facts: UpstreamFacts, lifecycle: Lifecycle) -> Mapping[str, Any]:
    """Further keys of a `modelStatus` entry; what is not known is absent."""
    now = time.time()
    found: dict[str, Any] = {}
    since = lifecycle.since(model.id)
    if since is not None:
        found["since"] = _moment(since)
    if facts.pid is not None:
        found["pid"] = facts.pid
        found["port"] = facts.port
    if facts.idle is not None and model.ttl > 0:
        found["ttl_expires"] = _moment(now - facts.idle + model.ttl)
        found["last_used"] = _moment(now - facts.idle)
    usual = lifecycle.usual_load(model.id)
    if usual is not None:
        found["load_ms_p50"] = round(usual * 1000)
    failure = lifecycle.failure(model.id)
    if failure is not None:
        error: dict[str, Any] = {"at": _moment(failure.time)}
        error["message"] = failure.reason[:FAILURE_LENGTH]
        if failure.exit_code is not None:
            error["exit_code"] = failure.exit_code
        found["last_error"] = error
    return found


def memory_facts(model: str, measured: Iterable[ModelMemory]) -> Mapping[str, Any]:
    """What its processes hold, as last measured; nothing if it was not. Unknown is null."""
    for entry in measured:
        if entry.model == model:
            found: dict[str, Any] = {"rss_mb": entry.rss_mb, "vram_mb": entry.vram_mb}
            return found | ({"vram_reason": entry.vram_reason} if entry.vram_reason else {})
    return {}


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _limit(written: str) -> int:
    if not written:
        return KEPT
    if not (written.isascii() and written.isdigit()) or int(written) < 1:
        raise BadRequest(f"limit must be a whole number from 1 on, not {written!r}")
    return min(int(written), KEPT)
