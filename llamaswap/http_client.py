"""Requests that are not hot: readiness probes and diagnosis. The only module that knows httpx."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
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


async def get_json(url: str, *, connect_timeout: float, total_timeout: float) -> Any:
    """GET `url` like `get_status`; return the JSON of a 200. None: there is none, or it is none."""
    library = await trio.to_thread.run_sync(_httpx)
    limits = library.Timeout(None, connect=connect_timeout)
    with trio.move_on_after(total_timeout):
        try:
            async with library.AsyncClient(
                trust_env=False, verify=_no_verification(), timeout=limits
            ) as client:
                answer = await client.get(url)
                return answer.json() if answer.status_code == 200 else None
        except (library.HTTPError, ValueError):
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


@asynccontextmanager
async def open_client(
    base_url: str, *, headers: Mapping[str, str] | None = None, connect_timeout: float = 10.0
) -> AsyncIterator[Any]:
    """An `httpx.AsyncClient` for commands: proxies and `.netrc` of the environment are ignored.

    Reading has no limit of its own; callers put a scope around what may hang. TLS is verified
    against the system's roots, or `SSL_CERT_FILE`.
    """
    library = await trio.to_thread.run_sync(_httpx)
    limits = library.Timeout(None, connect=connect_timeout)
    verify: object = False
    if base_url.startswith("https:"):
        import ssl  # only an https server needs it

        verify = ssl.create_default_context()
    async with library.AsyncClient(
        base_url=base_url,
        trust_env=False,
        verify=verify,
        timeout=limits,
        headers=headers,
        limits=library.Limits(max_connections=None),
    ) as client:
        yield client


def transport_errors() -> tuple[type[Exception], ...]:
    """What such a client raises when nobody answers, or not in HTTP."""
    library = _httpx()
    return (library.HTTPError, library.InvalidURL, library.StreamError)
