"""Ending a request on an operator's behalf. Source: http-api §3.7."""

from __future__ import annotations

import quart

from llamaswap.api.app import ControlPlane, Surroundings, json_response
from llamaswap.errors import NotInFlight


def add_routes(app: ControlPlane, around: Surroundings) -> None:
    """`POST /api/inflight/<id>/cancel`."""

    async def cancel(number: str) -> quart.Response:
        known = number.isascii() and number.isdigit() and around.inflight.cancel(int(number))
        if not known:
            raise NotInFlight(f"request {number} is not in flight")
        return json_response({"msg": "ok"})

    app.add_url_rule("/api/inflight/<number>/cancel", "inflight-cancel", cancel, methods=["POST"])
