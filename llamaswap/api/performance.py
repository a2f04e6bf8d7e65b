"""What the performance monitor has measured. Source: telemetry §2.12."""

from __future__ import annotations

import re
from datetime import datetime

import msgspec
import quart
from quart_trio.wrappers import TrioResponse

from llamaswap.api.app import ControlPlane, Surroundings, json_response
from llamaswap.errors import BadRequest
from llamaswap.telemetry.sampler import Monitor, encoded_models

RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(\.\d+)?(?:([Zz])|([+ -])(\d\d:\d\d))", re.ASCII
)


def add_routes(app: ControlPlane, around: Surroundings) -> None:
    """Answer with every sample kept, or those after a moment."""

    async def performance() -> quart.Response:
        if not around.monitor.enabled:
            return json_response({"enabled": False}, 503)
        after = parse_after(quart.request.args.get("after", ""))
        body = performance_body(around.monitor, after)
        return TrioResponse(body, content_type="application/json")

    app.add_url_rule("/api/performance", "performance", performance)


def performance_body(monitor: Monitor, after: datetime | None) -> bytes:
    """The answer; samples were written as JSON when they were taken, so this is one copy."""
    source = {
        "every_s": monitor.settings.every,
        "gpu_sources": monitor.gpu_sources,
        "gpu_reason": "" if monitor.gpu_sources else monitor.why_no_gpus(),
    }
    return b'{"enabled":true,"sys_stats":[%b],"gpu_stats":[%b],"models":[%b],%b' % (
        monitor.system.since(after),
        monitor.gpus.since(after),
        encoded_models(monitor.models),
        msgspec.json.encode(source)[1:],
    )


def parse_after(text: str) -> datetime | None:
    """Read RFC 3339; empty: None. A `+` that came as a space, unescaped as it was, is accepted.

    Raises:
        BadRequest: it is no such moment.
    """
    if not text:
        return None
    match = RFC3339.fullmatch(text)
    try:
        if match is None:
            raise ValueError(text)
        second, fraction, _, sign, offset = match.groups()
        zone = (sign.replace(" ", "+") + offset) if offset else "+00:00"
        micros = (fraction or ".0")[1:7].ljust(6, "0")  # we never write more than microseconds
        return datetime.fromisoformat(f"{second.upper()}.{micros}{zone}")
    except ValueError as exc:
        raise BadRequest("invalid 'after' timestamp, use RFC3339 format") from exc
