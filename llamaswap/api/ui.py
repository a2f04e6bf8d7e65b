"""The browser application under /ui/: built files served from memory, and the redirects to it.

The build (`web/`) leaves `llamaswap/_web/manifest.json`; it is read once at start, so no request
ever touches a folder and no path can leave it. Source: web-ui §0.2, §4.4, §4.7.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import quart
from attrs import frozen
from quart_trio.wrappers import TrioResponse

from llamaswap.api.app import ControlPlane, Surroundings, text_response
from llamaswap.errors import ModelUnknown

FOLDER = Path(__file__).parent.parent / "_web"
INDEX = "index.html"
HOW_TO_BUILD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>UI not built</title>
<h1>UI not built</h1>
<p>Run <code>npm ci &amp;&amp; npm run build</code> in <code>web/</code> (Node 20.19 or newer), or
<code>make ui</code>, then start llamaswap again. The API is not affected:
<a href="/v1/models">/v1/models</a>, <a href="/running">/running</a>, <a href="/logs">/logs</a>.</p>
</html>
"""
SAFE_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; "
        "img-src 'self' data: blob:; media-src 'self' blob: data:; connect-src 'self'; "
        "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'; "
        "require-trusted-types-for 'script'; trusted-types llamaswap dompurify"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
FOR_EVER = "public, max-age=31536000, immutable"


@frozen
class Encoded:
    """One form of a file: its bytes and the strong validator of exactly these bytes."""

    body: bytes
    etag: str


@frozen
class UiFile:
    """A built file in every form it was built in; `encodings` is in order of preference."""

    content_type: str
    etag: str
    """Of the bytes as they were built."""
    encodings: Mapping[str, Encoded]
    body: bytes | None = None
    """As built; None: kept as gzip only, for nearly everybody takes a compressed form."""

    @property
    def plain(self) -> Encoded:
        """The form without a coding."""
        if self.body is not None:
            return Encoded(self.body, self.etag)
        return Encoded(gzip.decompress(self.encodings["gzip"].body), self.etag)

    def best_for(self, accept_encoding: str) -> tuple[str, Encoded]:
        """The coding to send (`""`: none) and its bytes."""
        accepted = acceptable_codings(accept_encoding)
        for coding, form in self.encodings.items():
            if coding in accepted:
                return coding, form
        return "", self.plain


def acceptable_codings(header: str) -> frozenset[str]:
    """The content codings an Accept-Encoding header names with a weight above zero."""
    accepted = set()
    for item in header.split(","):
        coding, *parameters = (part.strip().lower() for part in item.split(";"))
        refused = any(re.fullmatch(r"q\s*=\s*0(\.0*)?", parameter) for parameter in parameters)
        if coding and not refused:
            accepted.add(coding)
    return frozenset(accepted)


def load_files(folder: Path = FOLDER) -> dict[str, UiFile]:
    """Read the build into memory (half a megabyte); empty if there is none."""
    try:
        manifest = msgspec.json.decode((folder / "manifest.json").read_bytes())
    except FileNotFoundError:
        return {}
    return {entry["path"]: _file(folder / entry["path"], entry) for entry in manifest["files"]}


def _file(path: Path, entry: Mapping[str, Any]) -> UiFile:
    plain = _form(path)
    encodings = {
        coding: _form(path.with_name(f"{path.name}.{suffix}"))
        for coding, suffix in (("br", "br"), ("gzip", "gz"))
        if coding in entry["encodings"]
    }
    body = None if "gzip" in encodings else plain.body
    return UiFile(entry["type"], plain.etag, encodings, body)


def _form(path: Path) -> Encoded:
    body = path.read_bytes()
    return Encoded(body, _etag(body))


def _etag(body: bytes) -> str:
    return '"' + hashlib.sha256(body).hexdigest()[:20] + '"'


def add_routes(app: ControlPlane, around: Surroundings, folder: Path = FOLDER) -> None:
    """Serve the UI and lead to it."""
    files = load_files(folder)

    def prefix() -> str:
        return prefix_of(around.config.ui_base_path)

    async def root() -> quart.Response:
        return _redirect(302, f"{prefix()}/ui")

    async def ui() -> quart.Response:
        query = quart.request.query_string.decode("ascii", "replace")
        return _redirect(307, f"{prefix()}/ui/" + (f"?{query}" if query else ""))

    async def file(path: str = INDEX) -> quart.Response:
        if not files:
            missing = text_response(HOW_TO_BUILD, "text/html; charset=utf-8")
            missing.status_code = 503
            return missing
        found = files.get(path)
        if found is not None and path != INDEX:
            return _send(found, immutable=path.startswith("assets/"))
        if path != INDEX and not _is_page(path):
            raise ModelUnknown(f"the UI has no file {path!r}")
        return _send(_placed(files[INDEX], prefix(), around.config.ui_title))

    async def icon() -> quart.Response:
        if not files:
            raise ModelUnknown("there is no icon: the UI is not built")
        return await file("favicon.ico")

    app.add_url_rule("/", "root", root)
    app.add_url_rule("/ui", "ui", ui)
    app.add_url_rule("/ui/", "ui-index", file)
    app.add_url_rule("/ui/<path:path>", "ui-file", file)
    app.add_url_rule("/favicon.ico", "favicon", icon)


def prefix_of(configured: str) -> str:
    """Where a reverse proxy mounts the program (`/ai`), as configured or as the proxy says.

    Empty at the root.
    """
    said = configured or quart.request.headers.get("X-Forwarded-Prefix", "").rstrip("/")
    return said if SAFE_PREFIX.fullmatch(said) and "/.." not in said else ""


def _is_page(path: str) -> bool:
    """Whether an unknown path is a route of the application, which answers for itself."""
    if path.startswith("assets/") or ".." in path.split("/"):
        return False
    if "." not in path.rpartition("/")[2]:
        return True
    return "text/html" in quart.request.headers.get("Accept", "")


def _placed(index: UiFile, root: str, title: str) -> UiFile:
    """The page, told where it is mounted and what the server is called; as built if nothing is."""
    if not root and not title:
        return index
    body = index.plain.body.replace(
        b'<base href="/ui/">', f'<base href="{html.escape(root)}/ui/">'.encode()
    ).replace(
        b'<meta name="llamaswap-root" content="">',
        f'<meta name="llamaswap-root" content="{html.escape(root)}">'
        f'<meta name="llamaswap-title" content="{html.escape(title)}">'.encode(),
    )
    return UiFile(index.content_type, _etag(body), {}, body)


def _send(found: UiFile, *, immutable: bool = False) -> quart.Response:
    coding, form = found.best_for(quart.request.headers.get("Accept-Encoding", ""))
    headers = {
        **HEADERS,
        "Content-Type": found.content_type,
        "Cache-Control": FOR_EVER if immutable else "no-cache",
        "ETag": form.etag,
        "Vary": "Accept-Encoding",
    }
    known = {tag.strip() for tag in quart.request.headers.get("If-None-Match", "").split(",")}
    if form.etag in known or "*" in known:
        return TrioResponse(b"", status=304, headers=headers)
    if coding:
        headers["Content-Encoding"] = coding
    return TrioResponse(form.body, headers=headers)


def _redirect(status: int, location: str) -> quart.Response:
    return TrioResponse("", status=status, headers={"Location": location})
