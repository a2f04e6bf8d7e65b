"""When is an upstream ready? Ask its health endpoint until it says 200. Source: lifecycle §1.4."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

import trio

from llamaswap import http_client
from llamaswap.errors import UpstreamNotReady
from llamaswap.nursery.endpoint import Endpoint

logger = logging.getLogger(__name__)

CONNECT_LIMIT = 0.5
PROBE_LIMIT = 5.0
QUICK_PROBES = 3.0  # seconds after the spawn in which probes come quickly
QUICK_INTERVAL = 0.1  # saves up to 0.9 s per swap of a small model
INTERVAL = 1.0


def probe_url(endpoint: Endpoint, check_endpoint: str) -> str | None:
    """Where to ask; None: the operator wants no check (`none`).

    A full URL as check endpoint gives only its path and query: the probe always goes to `proxy`.
    """
    wish = check_endpoint.strip()
    if wish == "none":
        return None
    parts = urlsplit(wish)
    path = parts.path if parts.path.startswith("/") else f"/{parts.path}"
    return f"{endpoint.scheme}://{endpoint.authority}{endpoint.target(path, parts.query)}"


async def wait_ready(model: str, url: str, *, limit: float) -> None:
    """Probe `url` until it answers 200.

    Raises:
        UpstreamNotReady: no 200 within `limit` seconds after the first probe; a probe that hangs
            counts too.
    """
    start = trio.current_time()
    last: int | None = None
    await trio.sleep(QUICK_INTERVAL)
    with trio.move_on_after(limit):
        while True:
            last = await http_client.get_status(
                url, connect_timeout=CONNECT_LIMIT, total_timeout=PROBE_LIMIT
            )
            if last == 200:
                logger.info("<%s> health check passed: %s", model, url)
                return
            logger.debug("<%s> health check: %s answered %s", model, url, last or "nothing")
            quick = trio.current_time() - start < QUICK_PROBES
            await trio.sleep(QUICK_INTERVAL if quick else INTERVAL)
    answer = f"its last answer was {last}" if last else "it never answered"
    raise UpstreamNotReady(f"health check timed out after {limit:g}s: {url}, {answer}")
