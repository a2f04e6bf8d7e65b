"""A small reverse proxy out of the data plane's parts, for the helper programs beside llamaswap.

It has one destination and no models. What becomes of a request is decided by a function, which
answers it itself, waits, or forwards it. Source: telemetry §7.5, §7.6.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import unquote

import trio
from attrs import define

from llamaswap.config.schema import Config, Timeouts
from llamaswap.errors import LlamaswapError
from llamaswap.nursery.endpoint import Endpoint
from llamaswap.nursery.lease import Lease, WaitObserver
from llamaswap.nursery.profile import ActiveProfile
from llamaswap.planning.events import ProcessState
from llamaswap.proxy.exchange import Exchange
from llamaswap.proxy.server import open_listeners, serve
from llamaswap.proxy.site import Site
from llamaswap.telemetry.bus import EventBus

LIMITS = Timeouts(connect=30, tls_handshake=10, response_header=300)


class BadDestination(LlamaswapError):
    """The address to forward to is none."""


@define(eq=False)
class Forwarding(Exchange):
    """One request to forward, or to answer otherwise."""

    async def _answer(self) -> None:
        raw, _, query = self.head.target.partition(b"?")
        self.query = query.decode("ascii")
        self.path = unquote(raw.decode("ascii"))
        destination = self.site.leases
        assert isinstance(destination, Destination)
        await destination.answer(self)

    async def forward(self) -> None:
        """Carry it to the destination and the answer back."""
        destination = self.site.leases
        assert isinstance(destination, Destination)
        raw = self.head.target.partition(b"?")[0].decode("ascii")
        await self.carry(destination.held, raw, readable=False)

    async def say(self, status: int, text: str, kind: str = "text/plain; charset=utf-8") -> None:
        """Answer it here."""
        await self.send(status, [(b"Content-Type", kind.encode())], text.encode())


@define(eq=False)
class Destination:
    """Where everything goes; stands where the program has its supervisor."""

    held: Lease
    answer: Callable[[Forwarding], Awaitable[None]]

    @asynccontextmanager
    async def lease(self, model: str, observer: WaitObserver | None = None) -> AsyncIterator[Lease]:
        """It may always be used."""
        del model, observer
        yield self.held

    def ready_lease(self, model: str) -> Lease | None:
        """It is always there, as far as we know."""
        del model
        return self.held

    def state(self, model: str) -> ProcessState:
        """Likewise."""
        del model
        return ProcessState.READY


async def forward_from(
    listen: str,
    url: str,
    answer: Callable[[Forwarding], Awaitable[None]],
    *,
    task_status: trio.TaskStatus[Site] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listen and serve until cancelled. Starts with the site, on which `drain` can be called.

    Raises:
        BadDestination: `url` is no http:// or https:// address.
        ListenFailed: `listen` cannot be served on.
    """
    try:
        endpoint = Endpoint.parse(url)
    except ValueError as exc:
        raise BadDestination(str(exc)) from exc
    listeners = open_listeners(listen)
    destination = Destination(Lease(endpoint.authority, endpoint, 1, LIMITS), answer)
    config = Config()
    site = Site(config, destination, "", ActiveProfile(config.profiles, EventBus()))
    site.answerer = Forwarding
    host, port = listeners[0].getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, site, listeners))
        logging.getLogger(__name__).info("listening on http://%s:%d for %s", shown, port, url)
        task_status.started(site)


def log_to_stdout(level: str = "info") -> None:
    """Log as the program does, to stdout."""
    names = {"warn": "WARNING"}
    logging.basicConfig(
        stream=sys.stdout,
        level=names.get(level, level.upper()),
        format="[%(levelname)s] %(message)s",
    )
    logging.getLogger("httpx").setLevel("WARNING")
    logging.getLogger("httpcore").setLevel("WARNING")
