"""Why was this model swapped? The scheduler's latest decisions. Source: scheduling §2.10."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import quart

from llamaswap.api.app import ControlPlane, Surroundings, json_response
from llamaswap.errors import BadRequest
from llamaswap.telemetry.bus import DecisionMade
from llamaswap.telemetry.decisions import KEPT


def add_routes(app: ControlPlane, around: Surroundings) -> None:
    """`GET /api/decisions[?limit=N]`: the last N, oldest first, at most 1,000."""

    async def decisions() -> quart.Response:
        limit = _limit(quart.request.args.get("limit", ""))
        kept = around.decisions.latest(limit)
        return json_response({"decisions": [decision_body(decision) for decision in kept]})

    app.add_url_rule("/api/decisions", "decisions", decisions, methods=["GET"])


def decision_body(decision: DecisionMade) -> dict[str, Any]:
    """One decision as JSON: here and in the stream of events."""
    return {
        "time": datetime.fromtimestamp(decision.time, UTC).isoformat(timespec="milliseconds"),
        "kind": decision.kind,
        "model": decision.model,
        "evicted": list(decision.evicted),
        "reason": decision.reason,
        "waiters": decision.waiters,
        "oldest_wait": round(decision.oldest_wait, 3),
        "estimate": round(decision.estimate, 3),
    }


def _limit(written: str) -> int:
    if not written:
        return KEPT
    if not (written.isascii() and written.isdigit()) or int(written) < 1:
        raise BadRequest(f"limit must be a whole number from 1 on, not {written!r}")
    return min(int(written), KEPT)
