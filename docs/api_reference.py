"""Write `docs/api.md` from the table of routes: `python -m docs.api_reference > docs/api.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from llamaswap.proxy.routes import ANY, INFERENCE, MANAGEMENT, PASSTHROUGH, Route, Rule

INTRODUCTION = """# HTTP API

<!-- Written by `make docs` from llamaswap/proxy/routes.py; change it there or in docs/api_reference.py. -->

Everything is served on one address. `GET` routes answer `HEAD` too, except where a request has an effect. Any `OPTIONS` request is answered with 204 and the headers browsers ask for.

* **Key**: needed when `apiKeys` is set: as `Authorization: Bearer …`, as `x-api-key: …`, or as the password of HTTP Basic. The first one found counts.
* **Row**: the request leaves a row in the activity list once it has ended.
* **Errors** of our own are `{"src": "llama-swap", "error": {"message", "type", "param", "code"}}`; with `Accept: text/plain` or `text/html`, text or a page. Below `/v1/messages` there is `"type": "error"` too, for Anthropic's clients. Errors of a model server pass untouched and have no `src`.
* **Paths** are matched as they are: case and trailing slashes count. `//`, `/./` and `/../` are redirected (307) to the clean path, except below `/upstream/` and `/comfyui/`.
* A wrong method gets 405 with `Allow`, an unknown path 404; neither asks for a key.
* What changes something here is refused (403) when a browser sends it for a page of another site (`Sec-Fetch-Site: cross-site`).
"""
NAMES = """## How a request names its model

| Request | The name is |
|---|---|
| `GET` | the query's `model` |
| JSON (`application/json`, `application/…+json`) | the member `model`; of several the first. Nothing is trimmed |
| `multipart/form-data` | the field `model`, else the query's |
| `application/x-www-form-urlencoded` | the field `model`, else the query's; JSON without its content type is read as JSON |
| anything else | the query's `model` |

It is looked up, in this order, as: a pin of the active profile · a selector · the id of a local model · an alias · a peer's model by its full name (`peer/model`) · a peer's model by a bare name that only one peer offers. Without a name the answer is 404 `no model id could be identified`, for an unknown one 404 `no router for requested model`. A body that claims to be JSON and is none gets 400.

What is sent on is what came, byte for byte, except: the name, where a profile, a selector, `useModelName` or a peer puts another one in its place; and what `filters` strip from and set in JSON bodies. Order of members, number literals and escapes of everything else stay.
"""
BELOW_UPSTREAM = """Path, query and body go to the server as they came: no filters, no `useModelName`, no selectors; profiles count. A row is written for a POST whose tail is one of the paths above. A tail that matches `upstream.ignorePaths` does not start a model (409). Any method but `OPTIONS`, `TRACE` and `CONNECT`.
"""
_SOURCES = {
    Rule.BODY: "body",
    Rule.QUERY: "query",
    Rule.UPSTREAM: "path",
    Rule.COMFYUI: "`comfyui_auto`",
    Rule.CONTROL: "–",
    Rule.ALIVE: "–",
}


def api_reference() -> str:
    """The whole file."""
    return "\n".join(
        [
            INTRODUCTION,
            "## Requests to models\n",
            "Answered by the model's server or the peer. **Sees**: the path it is asked for.\n",
            _table(
                ("Method", "Path", "For", "Name in", "Sees", "Key", "Row"),
                (
                    (
                        *_head(route),
                        _SOURCES[route.rule],
                        f"`{route.path.removeprefix(route.strip)}`" if route.strip else "same",
                        _yes(route.auth),
                        _yes(route.row),
                    )
                    for route in INFERENCE
                ),
            ),
            NAMES,
            "## Passing through\n",
            BELOW_UPSTREAM,
            _table(
                ("Method", "Path", "For", "Name in", "Key"),
                ((*_head(route), _SOURCES[route.rule], _yes(route.auth)) for route in PASSTHROUGH),
            ),
            "## Management\n",
            _table(
                ("Method", "Path", "For", "Key", "Changes something"),
                ((*_head(route), _yes(route.auth), _yes(route.changes)) for route in MANAGEMENT),
            ),
        ]
    )


def _head(route: Route) -> tuple[str, str, str]:
    method = "any" if route.methods == ANY else ", ".join(route.methods)
    return method, f"`{route.path}`", route.about


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [titles, ("---",) * len(titles), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    sys.stdout.write(api_reference())
