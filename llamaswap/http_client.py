"""Requests that are not hot: readiness probes and diagnosis. The only module that knows httpx."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Any

import trio


async def get_status(url: str, *, connect_timeout: float, total_timeout: float) -> int | None:
    """GET `url` without client headers, credentials or redirects; return the status.

    None: nobody answered within `connect_timeout` (TCP) and `total_timeout` (whole request)
    seconds, or what came was no HTTP. Proxies and `.netrc` of the environment are ignored.
    """
    # httpx takes a tenth of a second to import: not at the start, and not in the event loop
    library = await trio.to_thread.run_sync(_httpx)
    limits = library.Timeout(None, connect=connect_timeout)
    with trio.move_on_after(total_timeout):
        try:
            async with (
                library.AsyncClient(
                    trust_env=False, verify=_no_verification(), timeout=limits
                ) as client,
                client.stream("GET", url) as answer,
            ):
                return int(answer.status_code)
        except library.HTTPError:
            return None
    return None


@lru_cache(maxsize=1)
def _no_verification() -> object:
    """A TLS context for probes: a local server's certificate is its own, and no secret is sent."""
    import ssl  # only an https upstream needs it

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@lru_cache(maxsize=1)
def _httpx() -> Any:
    return import_module("httpx")
