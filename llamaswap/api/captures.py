"""`GET /api/captures/<id>`: a request and its answer as they were. Source: http-api §7.6."""

from __future__ import annotations

import quart
import trio

from llamaswap.api.app import ControlPlane, Surroundings, json_response
from llamaswap.errors import BadRequest, CaptureUnknown
from llamaswap.telemetry.captures import Capture, capture_body, unpack


def add_routes(app: ControlPlane, around: Surroundings) -> None:
    """Show one capture."""

    async def capture(number: str) -> quart.Response:
        row = _row(number)
        kept = around.book.captures.get(row)
        if kept is None:
            raise CaptureUnknown("capture not found")
        return json_response(await trio.to_thread.run_sync(_body, row, kept))

    app.add_url_rule("/api/captures/<number>", "capture", capture)


def _row(number: str) -> int:
    digits = number.removeprefix("-").removeprefix("+")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise BadRequest("invalid capture ID")
    return int(number)


def _body(row: int, kept: Capture) -> object:
    return capture_body(row, unpack(kept))
