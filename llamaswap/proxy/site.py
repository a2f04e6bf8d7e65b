"""What every connection of the data plane shares."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol

import trio
from attrs import define, field

from llamaswap.config.schema import Config
from llamaswap.nursery.lease import LeaseSource
from llamaswap.nursery.profile import ActiveProfile
from llamaswap.proxy.directory import Directory
from llamaswap.proxy.environment import OutgoingProxies
from llamaswap.proxy.pool import Pool
from llamaswap.proxy.pump import Pump
from llamaswap.proxy.selectors import Selectors
from llamaswap.proxy.wire import Wire
from llamaswap.telemetry.access_log import AccessRecord
from llamaswap.telemetry.observation import Observer


class Ongoing(Protocol):
    """An exchange under way, as far as others may touch it."""

    scope: trio.CancelScope

    def client_descriptor(self) -> int:
        """The client's socket; negative: closed."""
        ...


@define(eq=False)
class Site:
    """The data plane's surroundings. `reconfigure` replaces the configuration as a whole."""

    config: Config
    leases: LeaseSource
    control_socket: str
    """Path of the control plane's Unix socket."""
    profile: ActiveProfile
    on_finished: Callable[[AccessRecord], None] | None = None
    """Called once per exchange, after its last byte; must return at once."""
    observer: Observer | None = None
    """Told of every request that names a model. None: nobody keeps books."""
    pool: Pool = field(factory=Pool)
    pump: Pump = field(factory=Pump)
    selectors: Selectors = field(factory=Selectors)
    proxies: OutgoingProxies = field(factory=lambda: OutgoingProxies.of(os.environ))
    directory: Directory = field(init=False)
    ongoing: set[Ongoing] = field(factory=set)
    idle: set[Wire] = field(factory=set)
    """Client connections between two requests."""
    answerer: Callable[..., Any] | None = None
    """What answers a request; None: an `Exchange`, by route and model."""
    draining: bool = False
    _nobody: trio.Event | None = None

    def __attrs_post_init__(self) -> None:
        self.directory = Directory.of(self.config, self.proxies)

    def reconfigure(self, config: Config) -> None:
        """Serve new requests by `config`; those under way keep what they had."""
        self.config = config
        self.directory = Directory.of(config, self.proxies, self.directory)
        self.profile.reconfigure(config.profiles)

    def begin(self, exchange: Ongoing) -> None:
        """Count an exchange in."""
        self.ongoing.add(exchange)

    def end(self, exchange: Ongoing) -> None:
        """Count it out."""
        self.ongoing.discard(exchange)
        if self._nobody is not None and not self.ongoing:
            self._nobody.set()

    async def wait_idle(self) -> None:
        """Wait until no exchange is under way; only after `drain` does that stay so."""
        while self.ongoing:
            self._nobody = trio.Event()
            await self._nobody.wait()

    def drain(self) -> None:
        """Take no new request on any connection; those under way go on."""
        self.draining = True
        for wire in self.idle:
            wire.interrupt()

    def cut(self) -> None:
        """End every exchange under way."""
        for exchange in self.ongoing:
            exchange.scope.cancel(reason="the program stops")
