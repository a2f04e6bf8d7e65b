"""Histories and live streams of logs. Source: telemetry §1.8."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import unquote

import quart
from quart_trio.wrappers import TrioResponse

from llamaswap.api.app import ControlPlane, Surroundings
from llamaswap.errors import BadRequest
from llamaswap.telemetry.loghub import LogFeed, LogSource

HEADERS = {
    "Content-Type": "text/plain",
    "X-Content-Type-Options": "nosniff",
    "X-Accel-Buffering": "no",
}


def add_routes(app: ControlPlane, around: Surroundings) -> None:
    """Show what stdout shows, and follow any source."""

    async def history() -> quart.Response:
        if "text/html" in quart.request.headers.get("Accept", ""):
            return TrioResponse("", status=302, headers={"Location": "/ui/logs"})
        body = around.hub.combined.history()
        return TrioResponse(body, headers={"Content-Type": "text/plain"})

    async def stream(selector: str = "") -> quart.Response:
        source = find_source(around, selector)
        if quart.request.method == "HEAD":
            return TrioResponse(b"", headers=HEADERS)
        if "no-follow" in quart.request.args:  # ours: the history and no more
            return TrioResponse(source.history(), headers=HEADERS)
        with_history = "no-history" not in quart.request.args
        # on the exit stack: a generator's own `with` would not run if it were never started
        stack = quart.request.exit_stack  # type: ignore[attr-defined]
        feed: LogFeed = stack.enter_context(source.follow(history=with_history))
        return quart.Response(_chunks(feed), headers=HEADERS)

    app.add_url_rule("/logs", "logs", history)
    app.add_url_rule("/logs/stream", "logs-stream", stream)
    app.add_url_rule("/logs/stream/", "logs-stream-slash", stream)
    app.add_url_rule("/logs/stream/<path:selector>", "logs-stream-of", stream)
    # a selector that begins with an encoded slash; the converter takes none
    app.add_url_rule("/logs/stream//<path:selector>", "logs-stream-of-slash", stream)


def find_source(around: Surroundings, selector: str) -> LogSource:
    """The source a selector names: reserved words first, then the longest model name.

    Raises BadRequest if there is none.
    """
    wish = unquote(selector).lstrip("/").partition("?")[0]
    reserved = {"": around.hub.combined, "proxy": around.hub.proxy, "upstream": around.hub.upstream}
    if wish in reserved:
        return reserved[wish]
    segments = wish.split("/")
    for count in range(len(segments), 0, -1):
        model = around.config.real_id("/".join(segments[:count]))
        if model is not None:
            return around.hub.model(model).source
    if wish == "all":  # after the models: one may be called that
        return around.hub.all
    raise BadRequest("invalid logger. Use 'proxy', 'upstream' or a model's ID")


async def _chunks(feed: LogFeed) -> AsyncIterator[bytes]:
    yield b""  # sends status line and headers before there is anything to say
    async for chunk in feed:
        yield chunk
