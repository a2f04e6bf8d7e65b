"""What a browser finds while there is no other UI: one page that needs no script."""

from __future__ import annotations

import html

import quart
from quart_trio.wrappers import TrioResponse

from llamaswap.api.app import ControlPlane, Surroundings, text_response
from llamaswap.errors import ModelUnknown

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>llama-swap</title>
<meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="5">
<style>body{{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:50rem;padding:0 1rem;
color-scheme:light dark}}td,th{{padding:.2rem 1rem .2rem 0;text-align:left}}
code{{font-size:.9em}}</style>
<h1>llama-swap</h1><table><thead><tr><th>Model</th><th>State</th><th>Description</th></tr></thead>
<tbody>{rows}</tbody></table>
<p>Live logs: <a href="/logs/stream/proxy">proxy</a>, <a href="/logs/stream/upstream">models</a>.
API: <a href="/v1/models">/v1/models</a>, <a href="/running">/running</a>.</p></html>
"""
SAFE = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}


def add_routes(app: ControlPlane, around: Surroundings) -> None:
    """Redirects to the UI, and the page."""

    async def root() -> quart.Response:
        return _redirect(302, "/ui")

    async def ui() -> quart.Response:
        query = quart.request.query_string.decode("ascii", "replace")
        return _redirect(307, "/ui/" + (f"?{query}" if query else ""))

    async def page(rest: str = "") -> quart.Response:
        del rest  # client-side routes of the UI
        states = around.models.states()
        rows = "".join(
            f"<tr><td><code>{html.escape(model.id)}</code></td><td>{states[model.id].value}</td>"
            f"<td>{html.escape(model.name or model.description)}</td></tr>"
            for model in around.config.models.values()
        )
        answer = text_response(PAGE.format(rows=rows), "text/html; charset=utf-8")
        answer.headers.update(SAFE)
        return answer

    async def icon() -> quart.Response:
        raise ModelUnknown("there is no icon")

    app.add_url_rule("/", "root", root)
    app.add_url_rule("/ui", "ui", ui)
    app.add_url_rule("/ui/", "ui-page", page)
    app.add_url_rule("/ui/<path:rest>", "ui-route", page)
    app.add_url_rule("/favicon.ico", "favicon", icon)


def _redirect(status: int, location: str) -> quart.Response:
    return TrioResponse("", status=status, headers={"Location": location})
