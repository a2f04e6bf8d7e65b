"""Stopping models on request. Source: http-api §1.2."""

from __future__ import annotations

import quart

from llamaswap.api.app import ControlPlane, Surroundings, json_response, text_response
from llamaswap.errors import ModelUnknown


def add_routes(app: ControlPlane, around: Surroundings) -> None:
    """Unload all models, or one; the answer comes when they are stopped."""

    async def unload_all() -> quart.Response:
        await around.models.unload(tuple(around.config.models))
        return text_response("OK")

    async def unload_all_json() -> quart.Response:
        await around.models.unload(tuple(around.config.models))
        return json_response({"msg": "ok"})

    async def unload_one(name: str) -> quart.Response:
        model = around.config.real_id(name)
        if model is None:
            raise ModelUnknown("model not found")
        await around.models.unload((model,))
        return text_response("OK")

    async def unload_nothing() -> quart.Response:
        raise ModelUnknown("model not found")

    # a GET with an effect: HEAD must not have it, and the data plane answers that with 405
    app.add_url_rule("/unload", "unload", unload_all, methods=["GET"])
    app.add_url_rule("/api/models/unload", "unload-json", unload_all_json, methods=["POST"])
    app.add_url_rule("/api/models/unload/", "unload-none", unload_nothing, methods=["POST"])
    app.add_url_rule("/api/models/unload/<path:name>", "unload-one", unload_one, methods=["POST"])
