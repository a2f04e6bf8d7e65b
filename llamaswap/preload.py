"""Bringing the models of `hooks.on_startup.preload` up, one after the other, in the background.

Source: lifecycle §1.11, §1.12, config §2.13.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from attrs import frozen

from llamaswap.config.diff import Difference
from llamaswap.errors import LlamaswapError
from llamaswap.nursery.supervisor import Supervisor
from llamaswap.planning.events import ProcessState
from llamaswap.telemetry.bus import EventBus, ModelPreloaded

logger = logging.getLogger(__name__)


@frozen
class Preloader:
    """Loads models nobody has asked for yet."""

    supervisor: Supervisor
    bus: EventBus

    async def after_start(self, models: Iterable[str]) -> None:
        """Load `models` in their order, whatever they push out."""
        for model in models:
            await self._load(model)

    async def after_reload(
        self, models: Iterable[str], before: Iterable[str], difference: Difference
    ) -> None:
        """Load what is listed and not ready; `before`: the list of the configuration replaced.

        What is new to the list, new, or described differently is loaded as at the start. The rest
        was pushed out by somebody's requests: it comes back only where nothing has to go for it,
        because a reload disturbs nothing that did not change.
        """
        welcome = {*difference.added, *difference.changed}
        asked = set(models) - set(before) | welcome
        for model in models:
            if self._is_ready(model):
                continue
            if model not in asked and (others := self.supervisor.displaced_by(model)):
                logger.info("<%s> not preloaded again: %s would go", model, ", ".join(others))
                continue
            await self._load(model)

    def _is_ready(self, model: str) -> bool:
        return self.supervisor.states().get(model) is ProcessState.READY

    async def _load(self, model: str) -> None:
        logger.info("<%s> preloading", model)
        try:
            async with self.supervisor.lease(model):
                logger.info("<%s> preloaded", model)
        except LlamaswapError as exc:
            logger.error("<%s> preload failed: %s", model, exc)  # noqa: TRY400  # expected
            self.bus.publish(ModelPreloaded(model, success=False))
        else:
            self.bus.publish(ModelPreloaded(model, success=True))
