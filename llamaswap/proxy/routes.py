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
    about: str = ""
    """What it is for, for `docs/api.md`."""

    allow: tuple[str, ...] = field(init=False)
    """Methods that are answered: GET routes answer HEAD too, unless they have an effect."""

    @allow.default
    def _allow(self) -> tuple[str, ...]:
        if self.methods == ANY:
            return (*ANY, "HEAD")
        if "GET" in self.methods and not self.changes:
            return (*self.methods, "HEAD")
        return self.methods


def _post(path: str, about: str, *, strip: str = "", loading: bool = False) -> Route:
    return Route(("POST",), path, Rule.BODY, strip=strip, row=True, loading=loading, about=about)


def _get(path: str, about: str) -> Route:
    return Route(("GET",), path, Rule.QUERY, about=about)


def _control(
    method: str, path: str, about: str, *, auth: bool = True, changes: bool = False
) -> Route:
    changes = changes or method != "GET"
    return Route((method,), path, Rule.CONTROL, auth=auth, changes=changes, about=about)


def _alive(path: str) -> Route:
    return Route(("GET",), path, Rule.ALIVE, auth=False, about="`OK`, always")


ANY = ("GET", "POST", "PUT", "PATCH", "DELETE")
"""Of what a model's server understands, the usual ones."""
NOT_PASSED = ("OPTIONS", "TRACE", "CONNECT")
"""Methods that are about the way and not about what lies behind it."""

INFERENCE = (
    _post("/v1/chat/completions", "chat, OpenAI", loading=True),
    _post("/v1/completions", "completion, OpenAI"),
    _post("/v1/responses", "responses, OpenAI"),
    _post("/v1/embeddings", "embeddings, OpenAI"),
    _post("/v1/messages", "chat, Anthropic"),
    _post("/v1/messages/count_tokens", "token count, Anthropic"),
    _post("/rerank", "reranking, llama.cpp"),
    _post("/reranking", "reranking, llama.cpp"),
    _post("/v1/rerank", "reranking, Jina"),
    _post("/v1/reranking", "reranking, llama.cpp"),
    _post("/infill", "fill in the middle, llama.cpp"),
    _post("/completion", "completion, llama.cpp"),
    _post("/v1/audio/speech", "text to speech"),
    _post("/v1/audio/voices", "add a voice"),
    _post("/v1/audio/transcriptions", "speech to text, a form with a file"),
    _post("/v1/images/edits", "change an image, a form with files"),
    _post("/v1/images/generations", "make an image"),
    _post("/sdapi/v1/txt2img", "text to image, Stable Diffusion web UI"),
    _post("/sdapi/v1/img2img", "image to image, Stable Diffusion web UI"),
    _post("/audioapi/v1/tasks/run", "run a task, audio.cpp", strip="/audioapi"),
    _post("/v/chat/completions", "chat, for servers without /v1", strip="/v"),
    _post("/v/responses", "responses, for servers without /v1", strip="/v"),
    _post("/v/completions", "completion, for servers without /v1", strip="/v"),
    _post("/v/messages", "chat, Anthropic, for servers without /v1", strip="/v"),
    _post("/v/messages/count_tokens", "token count, for servers without /v1", strip="/v"),
    _post("/v/embeddings", "embeddings, for servers without /v1", strip="/v"),
    _post("/v/rerank", "reranking, for servers without /v1", strip="/v"),
    _post("/v/reranking", "reranking, for servers without /v1", strip="/v"),
    _get("/v1/audio/voices", "list voices"),
    _get("/sdapi/v1/loras", "list LoRAs, Stable Diffusion web UI"),
    _get("/props", "properties of the server, llama.cpp"),
)

PASSTHROUGH = (
    Route(ANY, "/upstream", Rule.UPSTREAM, auth=False, about="leads to the UI's list of models"),
    Route(ANY, "/upstream/…", Rule.UPSTREAM, about="`/upstream/<model>/<tail>`: `<tail>` as it is"),
    Route(ANY, "/comfyui", Rule.COMFYUI, about="leads to `/comfyui/`"),
    Route(ANY, "/comfyui/…", Rule.COMFYUI, about="ComfyUI, run by the model `comfyui_auto`"),
)

MANAGEMENT = (
    _control("GET", "/", "leads to the UI", auth=False),
    _control("GET", "/ui", "leads to `/ui/`", auth=False),
    _control("GET", "/ui/…", "the UI"),
    _control("GET", "/favicon.ico", "the UI's icon", auth=False),
    _alive("/health"),
    _alive("/wol-health"),
    _control("GET", "/v1/models", "every name a request may use"),
    _control("GET", "/models", "the same"),
    _control("GET", "/running", "models whose server is not stopped"),
    _control("GET", "/unload", "stop all models", changes=True),
    _control("POST", "/api/models/unload", "stop all models"),
    _control("POST", "/api/models/unload/…", "stop one, by id or alias"),
    _control("GET", "/api/profiles", "profiles, and which one is active"),
    _control("PUT", "/api/profiles/active", 'choose one: `{"name": "night"}`; null: none'),
    _control("POST", "/api/inflight/…", "`/api/inflight/<id>/cancel`: end a request under way"),
    _control("GET", "/api/events", "what happens, as it happens (server-sent events)"),
    _control("GET", "/api/metrics/activity", "requests that have ended, filtered, in pages"),
    _control("GET", "/api/metrics/stats", "sums and distributions of them"),
    _control("GET", "/api/captures/…", "`/api/captures/<id>`: headers and bodies of one"),
    _control("GET", "/api/performance", "samples of processor, memory and graphics cards"),
    _control("GET", "/api/version", "version, commit and date of the build"),
    _control("GET", "/api/hardware", "what this machine is made of"),
    _control("GET", "/api/config", "the resolved configuration, without its secrets"),
    _control("GET", "/api/events/history", "what models did lately: loads, stops, failures"),
    _control("GET", "/api/decisions", "what the scheduler decided last, and why"),
    _control("GET", "/metrics", "metrics for Prometheus"),
    _control("GET", "/logs", "the log so far"),
    _control("GET", "/logs/stream", "the log, as it grows"),
    _control("GET", "/logs/stream/…", "one source: `proxy`, `upstream` or a model"),
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
_STRAY = _post("", "")
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
        if method in route.allow or (route.methods == ANY and method not in NOT_PASSED):
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
