"""Listing profiles and choosing the active one. Source: http-api §8.4."""

from __future__ import annotations

from typing import Any

import msgspec
import quart

from llamaswap.api.app import ControlPlane, Surroundings, json_response
from llamaswap.errors import BadRequest
from llamaswap.nursery.profile import ActiveProfile


def add_routes(app: ControlPlane, around: Surroundings) -> None:
    """Show all profiles; activate one, or none."""
    selection = around.profile

    async def profiles() -> quart.Response:
        return json_response({"active": selection.name, "profiles": list_profiles(selection)})

    async def activate() -> quart.Response:
        selection.activate(wished(await quart.request.get_data()))
        return json_response({"active": selection.name})

    app.add_url_rule("/api/profiles", "profiles", profiles)
    app.add_url_rule("/api/profiles/active", "profiles-active", activate, methods=["PUT"])


def list_profiles(selection: ActiveProfile) -> list[dict[str, Any]]:
    """Every profile by id, switched-off names as empty targets."""
    return [
        {
            "id": profile.name,
            "description": profile.description,
            "pins": {name: target or "" for name, target in sorted(profile.pins.items())},
        }
        for _, profile in sorted(selection.profiles.items())
    ]


def wished(body: bytes | str) -> str | None:
    """The profile a request wants; None: none. Raises BadRequest."""
    try:
        request = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadRequest("invalid profile request") from exc
    if request is None or (isinstance(request, dict) and "name" not in request):
        raise BadRequest("profile name is required")
    if not isinstance(request, dict):
        raise BadRequest("invalid profile request")
    name = request["name"]
    if name is not None and not isinstance(name, str):
        raise BadRequest("profile name must be a string or null")
    return name or None
