"""Every route in one table. Source: http-api §1.2.

A route says where the model's name comes from, whether a key is needed, what path the upstream
sees and whether an activity row is written. Everything that is not dispatched by model goes to the
control plane.
"""

from __future__ import annotations

from enum import Enum
from urllib.parse import unquote_to_bytes

from attrs import field, frozen


class Rule(Enum):
    """Where the model's name stands, or who answers instead."""

    BODY = "body"
    QUERY = "query"
    UPSTREAM = "upstream"
    COMFYUI = "comfyui"
    CONTROL = "control"
    ALIVE = "alive"
    """The data plane itself, so that the answer says what it seems to say."""


@frozen
class Route:
    """One line of the table."""

    methods: tuple[str, ...]
    path: str
    """Exact, or a prefix if it ends in `/…`."""
    rule: Rule
    auth: bool = True
    strip: str = ""
    """Prefix that the upstream does not see."""
    row: bool = False
    loading: bool = False
    """Whether a loading-state stream may precede the answer."""
    changes: bool = False
    """Whether a request changes something here, so that no foreign web page may send it."""

    @property
    def allow(self) -> tuple[str, ...]:
        """Methods that are answered: GET routes answer HEAD too, unless they have an effect."""
        if "GET" in self.methods and not self.changes:
            return (*self.methods, "HEAD")
        return self.methods


def _post(path: str, *, strip: str = "", loading: bool = False) -> Route:
    return Route(("POST",), path, Rule.BODY, strip=strip, row=True, loading=loading)


def _control(method: str, path: str, *, auth: bool = True, changes: bool = False) -> Route:
    return Route((method,), path, Rule.CONTROL, auth=auth, changes=changes or method != "GET")


ANY = ("GET", "POST", "PUT", "PATCH", "DELETE")

INFERENCE = (
    _post("/v1/chat/completions", loading=True),
    _post("/v1/completions"),
    _post("/v1/responses"),
    _post("/v1/embeddings"),
    _post("/v1/messages"),
    _post("/v1/messages/count_tokens"),
    _post("/rerank"),
    _post("/reranking"),
    _post("/v1/rerank"),
    _post("/v1/reranking"),
    _post("/infill"),
    _post("/completion"),
    _post("/v1/audio/speech"),
    _post("/v1/audio/voices"),
    _post("/v1/audio/transcriptions"),
    _post("/v1/images/edits"),
    _post("/v1/images/generations"),
    _post("/sdapi/v1/txt2img"),
    _post("/sdapi/v1/img2img"),
    _post("/audioapi/v1/tasks/run", strip="/audioapi"),
    _post("/v/chat/completions", strip="/v"),
    _post("/v/responses", strip="/v"),
    _post("/v/completions", strip="/v"),
    _post("/v/messages", strip="/v"),
    _post("/v/messages/count_tokens", strip="/v"),
    _post("/v/embeddings", strip="/v"),
    _post("/v/rerank", strip="/v"),
    _post("/v/reranking", strip="/v"),
    Route(("GET",), "/v1/audio/voices", Rule.QUERY),
    Route(("GET",), "/sdapi/v1/loras", Rule.QUERY),
    Route(("GET",), "/props", Rule.QUERY),
)

PASSTHROUGH = (
    Route((*ANY, "HEAD"), "/upstream", Rule.UPSTREAM, auth=False),
    Route((*ANY, "HEAD"), "/upstream/…", Rule.UPSTREAM),
    Route((*ANY, "HEAD"), "/comfyui", Rule.COMFYUI),
    Route((*ANY, "HEAD"), "/comfyui/…", Rule.COMFYUI),
)

MANAGEMENT = (
    _control("GET", "/", auth=False),
    _control("GET", "/ui", auth=False),
    _control("GET", "/ui/…"),
    _control("GET", "/favicon.ico", auth=False),
    Route(("GET",), "/health", Rule.ALIVE, auth=False),
    Route(("GET",), "/wol-health", Rule.ALIVE, auth=False),
    _control("GET", "/v1/models"),
    _control("GET", "/models"),
    _control("GET", "/running"),
    _control("GET", "/unload", changes=True),
    _control("POST", "/api/models/unload"),
    _control("POST", "/api/models/unload/…"),
    _control("GET", "/api/profiles"),
    _control("PUT", "/api/profiles/active"),
    _control("POST", "/api/inflight/…"),
    _control("GET", "/api/events"),
    _control("GET", "/api/metrics/activity"),
    _control("GET", "/api/metrics/stats"),
    _control("GET", "/api/captures/…"),
    _control("GET", "/api/performance"),
    _control("GET", "/api/version"),
    _control("GET", "/api/hardware"),
    _control("GET", "/api/config"),
    _control("GET", "/api/decisions"),
    _control("GET", "/metrics"),
    _control("GET", "/logs"),
    _control("GET", "/logs/stream"),
    _control("GET", "/logs/stream/…"),
)

ROUTES = (*INFERENCE, *PASSTHROUGH, *MANAGEMENT)

_EXACT: dict[str, tuple[Route, ...]] = {}
_DISPATCHED: dict[str, tuple[Route, ...]] = {}
"""Inference routes by path."""
_PREFIXES: list[tuple[str, tuple[Route, ...]]] = []
for _route in ROUTES:
    if _route.path.endswith("/…"):
        _PREFIXES.append((_route.path.removesuffix("…"), (_route,)))
    else:
        _EXACT[_route.path] = (*_EXACT.get(_route.path, ()), _route)
for _route in INFERENCE:
    _DISPATCHED[_route.path] = _EXACT[_route.path]
_STRAY = _post("")
OPAQUE_TAILS = ("/upstream/", "/comfyui/")
"""Below these the path belongs to the model server: it is forwarded as received."""


@frozen
class Match:
    """What a path leads to."""

    routes: tuple[Route, ...]
    """Routes of this path, for any method; empty: nobody knows it."""
    path: str
    """Decoded, for the log and for comparisons."""
    redirect: str | None = field(default=None)
    """Where the cleaned path is, still percent-encoded."""


_KNOWN = {path.encode(): Match(routes, path) for path, routes in _EXACT.items()}


def match_path(raw: bytes) -> Match:
    """Find the routes of a percent-encoded path."""
    known = _KNOWN.get(raw)
    if known is not None:
        return known
    text = raw.decode("ascii")
    opaque = text.startswith(OPAQUE_TAILS)
    if not opaque and (clean := _clean(text)) != text:
        return Match((), _decode(text), redirect=clean)
    decoded = _decode(text)
    for prefix, routes in _PREFIXES:
        if decoded.startswith(prefix) and (text.startswith(prefix) or "%2f" not in text.lower()):
            return Match(routes, decoded)
    # an encoded slash is no separator on fixed routes
    if "%2f" in text.lower():
        return Match((), decoded)
    return Match(_EXACT.get(decoded, ()), decoded)


def choose(routes: tuple[Route, ...], method: str) -> Route | None:
    """The route of a path that answers `method`."""
    for route in routes:
        if method in route.allow:
            return route
    return None


def observed(method: str, path: str) -> Route | None:
    """The line by which a request below `/upstream/<model>` is observed; None: it is not.

    A POST to a path of the GET-only routes counts as one that writes a row. `path`: decoded.
    """
    lines = _DISPATCHED.get(path, ())
    line = choose(lines, method)
    return _STRAY if line is None and lines and method == "POST" else line


def allowed(routes: tuple[Route, ...]) -> str:
    """The `Allow` header of a path: GET, then HEAD, then the rest."""
    methods = {method for route in routes for method in route.allow}
    return ", ".join(m for m in ("GET", "HEAD", *ANY[1:]) if m in methods)


def _decode(text: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", "replace") if "%" in text else text


def _clean(path: str) -> str:
    """Resolve `//`, `/./` and `/../`; a trailing slash stays. Encoded dots are left alone."""
    if "//" not in path and "/." not in path:
        return path
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment in ("", "."):
            continue
        if segment == "..":
            del kept[-1:]
        else:
            kept.append(segment)
    slash = "/" if segments[-1] in ("", ".", "..") and kept else ""
    return f"/{'/'.join(kept)}{slash}"
