"""`/health`, `/wol-health` and `/api/version`. Source: http-api §1.2, §8.5."""

from __future__ import annotations

import quart

from llamaswap.api.app import ControlPlane, Surroundings, json_response, text_response
from llamaswap.version import BUILD_DATE, COMMIT, VERSION


def add_routes(app: ControlPlane, around: Surroundings) -> None:
    """Answer whether the program is there, and which one it is."""
    del around

    async def health() -> quart.Response:
        return text_response("OK")

    async def version() -> quart.Response:
        return json_response({"version": VERSION, "commit": COMMIT, "build_date": BUILD_DATE})

    app.add_url_rule("/health", "health", health)
    app.add_url_rule("/wol-health", "wol-health", health)
    app.add_url_rule("/api/version", "version", version)
