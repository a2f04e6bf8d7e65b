"""`/api/version`. Source: http-api §8.5."""

from __future__ import annotations

import quart

from llamaswap.api.app import ControlPlane, Surroundings, json_response
from llamaswap.version import BUILD_DATE, COMMIT, VERSION


def add_routes(app: ControlPlane, around: Surroundings) -> None:
    """Answer which program this is."""
    del around

    async def version() -> quart.Response:
        return json_response({"version": VERSION, "commit": COMMIT, "build_date": BUILD_DATE})

    app.add_url_rule("/api/version", "version", version)
