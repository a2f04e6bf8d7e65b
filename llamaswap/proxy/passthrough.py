"""Requests below `/upstream/<model>` and `/comfyui`: path, query and body as they came.

Source: http-api §1.2, §3.4.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote

from llamaswap.config.patterns import compile_pattern
from llamaswap.errors import BadRequest, ModelNotLoaded, ModelUnknown
from llamaswap.proxy.resolve import (
    Asked,
    asked_in_body,
    split_upstream_path,
    upstream_redirect,
)
from llamaswap.proxy.rewrite import rewrite_for_peer
from llamaswap.proxy.routes import observed

if TYPE_CHECKING:
    from llamaswap.proxy.exchange import Exchange

COMFYUI = "comfyui_auto"


async def pass_through(exchange: Exchange, raw: str) -> None:
    """`/upstream/<model>/<tail>`: the tail as received, no look at the body."""
    site, plain = exchange.site, exchange.head.method in ("GET", "HEAD")
    if raw == "/upstream":
        await exchange.redirect(*((302, "/ui/models") if plain else (307, "/upstream/")))
        return
    tail = split_upstream_path(site.directory, site.profile.pins, raw.removeprefix("/upstream/"))
    if not tail.raw:
        there = upstream_redirect(tail.written, exchange.query)
        await exchange.redirect(301 if plain else 308, there)
        return
    to = tail.destination
    decoded = unquote(tail.raw)
    watched = observed(exchange.head.method, decoded)
    if watched is not None and not exchange.passes_by(to):
        exchange.observe(to.model, decoded, row=watched.row, local=to.peer is None)
    if to.peer is not None:
        exchange.body, exchange.query = rewrite_for_peer(
            _asked(exchange), to, exchange.body, exchange.query
        )
        await exchange.carry_to_peer(to.peer, tail.raw, readable=False)
        return
    ignored = any(pattern.search(decoded) for pattern in _patterns(site.config.ignore_paths))
    if ignored and site.leases.ready_lease(to.model) is None:
        raise ModelNotLoaded(f"model {to.model} is not loaded; path matches upstream.ignorePaths")
    await exchange.serve(to.model, tail.raw, readable=False)


async def comfyui(exchange: Exchange, raw: str) -> None:
    """`/comfyui/<tail>`: the model `comfyui_auto`; only its root may start it."""
    site = exchange.site
    if raw == "/comfyui":
        there = "/comfyui/" + (f"?{exchange.query}" if exchange.query else "")
        await exchange.redirect(301 if exchange.head.method in ("GET", "HEAD") else 308, there)
        return
    if COMFYUI not in site.config.models:
        raise ModelUnknown(f"local model {COMFYUI} not found")
    tail = raw.removeprefix("/comfyui")
    if tail != "/" and site.leases.ready_lease(COMFYUI) is None:
        raise ModelNotLoaded(f"model {COMFYUI} is not loaded; only /comfyui/ can start it")
    await exchange.serve(COMFYUI, tail, readable=False)


def _asked(exchange: Exchange) -> Asked | None:
    """What the body names, if it names a model at all."""
    try:
        return asked_in_body(exchange.head, exchange.body, "")
    except (BadRequest, ModelUnknown):
        return None


@lru_cache(maxsize=8)
def _patterns(texts: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    return tuple(compile_pattern(text) for text in texts)
