"""What machine this is. Source: telemetry §4."""

from __future__ import annotations

import quart

from llamaswap.api.app import ControlPlane, Surroundings, json_response


def add_routes(app: ControlPlane, around: Surroundings) -> None:
    """Answer with the report, once it is there."""

    async def hardware() -> quart.Response:
        return json_response(await around.hardware.get())

    app.add_url_rule("/api/hardware", "hardware", hardware)
