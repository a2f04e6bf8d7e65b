"""Reloading: when somebody asks, the sources are loaded again; what is whole and right is applied.

At most one reload runs, and at most one more is remembered: whatever asks while one runs is served
by the next, which reads the sources after the last of them asked. Source: config §1.7, lifecycle
§1.11.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import trio
from attrs import define, field

from llamaswap.config.diff import Difference, automatic_ports, compare
from llamaswap.config.live import Attempt, LiveConfig
from llamaswap.config.load import Loaded
from llamaswap.config.problems import ConfigInvalid, Problem
from llamaswap.errors import LlamaswapError
from llamaswap.telemetry.bus import ConfigReloaded, EventBus

logger = logging.getLogger(__name__)

Load: TypeAlias = Callable[[Mapping[str, int]], Loaded]
"""Loads all sources; takes the automatic ports to be kept. Runs in a thread."""
Apply: TypeAlias = Callable[[Loaded], Awaitable[None]]
"""Puts a configuration in force; raises LlamaswapError only before anything has changed."""


class NothingThere(LlamaswapError):
    """The sources say nothing at all, most likely for a moment only."""


@define(eq=False)
class Reloader:
    """Serves requests to reload, one after the other."""

    live: LiveConfig
    load: Load
    apply: Apply
    bus: EventBus
    _wanted: str = field(default="", init=False)
    """Who asked last since the running reload began."""
    _bell: trio.Event = field(factory=trio.Event, init=False)

    def request(self, trigger: str) -> None:
        """Ask for a reload; returns at once. `trigger`: what asks, for the log and the API."""
        self._wanted = trigger
        self._bell.set()

    async def run(self) -> None:
        """Serve requests until cancelled; a reload that is cancelled has changed nothing or all."""
        while True:
            await self._bell.wait()
            self._bell = trio.Event()
            await self._reload(self._wanted)

    async def _reload(self, trigger: str) -> None:
        logger.info("reloading the configuration (%s)", trigger)
        try:
            loaded = await self._load()
            difference = compare(self.live.config, loaded.config)
            await self.apply(loaded)
        except LlamaswapError as error:
            self._failed(trigger, error)
        else:
            self._succeeded(trigger, loaded, difference)

    async def _load(self) -> Loaded:
        ports = automatic_ports(self.live.config)
        # a network file system may hang; shutdown does not wait for it
        loaded = await trio.to_thread.run_sync(self.load, ports, abandon_on_cancel=True)
        if loaded.says_nothing and self.live.config.models:
            names = ", ".join(loaded.sources)
            raise NothingThere(
                f"{names}: there is nothing in it, perhaps because it is being written at this "
                "moment; write 'models: {}' to serve no models"
            )
        return loaded

    def _succeeded(self, trigger: str, loaded: Loaded, difference: Difference) -> None:
        live = self.live
        live.loaded, live.loaded_at = loaded, time.time()
        live.generation += 1
        live.last_reload = Attempt(at=live.loaded_at, trigger=trigger, difference=difference)
        for warning in loaded.warnings:
            logger.warning("configuration: %s", warning)
        logger.info("configuration reloaded: %s", _in_words(difference))
        self.bus.publish(ConfigReloaded(live.generation))

    def _failed(self, trigger: str, error: LlamaswapError) -> None:
        problems: tuple[Problem, ...] = ()
        doubts: tuple[Problem, ...] = ()
        if isinstance(error, ConfigInvalid):
            problems, doubts = error.problems, error.warnings
        self.live.last_reload = Attempt(
            at=time.time(), trigger=trigger, problems=(*problems, *doubts), error=str(error)
        )
        logger.warning("reload failed, the running configuration stays: %s", error)
        for warning in doubts:
            logger.warning("configuration: %s", warning)
        self.bus.publish(ConfigReloaded(self.live.generation, ok=False, error=str(error)))


def _in_words(difference: Difference) -> str:
    """`3 models unchanged, adjusted: a, restarting when idle: b, new: c, removed: d`."""
    said = [f"{len(difference.unchanged)} models unchanged"]
    for what, models in (
        ("adjusted", difference.adjusted),
        ("to be restarted", difference.changed),
        ("new", difference.added),
        ("removed", difference.removed),
    ):
        if models:
            said.append(f"{what}: {', '.join(models)}")
    return "; ".join(said)
