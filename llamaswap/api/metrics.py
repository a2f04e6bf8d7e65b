"""Metrics for Prometheus. Source: telemetry §3.1."""

from __future__ import annotations

import quart

from llamaswap.api.app import ControlPlane, Surroundings, text_response
from llamaswap.telemetry.exposition import CONTENT_TYPE


def add_routes(app: ControlPlane, around: Surroundings) -> None:
    """Answer with everything that is measured and counted."""

    async def metrics() -> quart.Response:
        if not around.monitor.enabled:
            answer = text_response("# performance monitor not available\n")
            answer.status_code = 503
            return answer
        from llamaswap.telemetry.prometheus import metrics as written

        states = {model: state.value for model, state in around.models.states().items()}
        text = written(around.monitor, around.counters, states, around.hub)
        return text_response(text, CONTENT_TYPE)

    app.add_url_rule("/metrics", "metrics", metrics)
