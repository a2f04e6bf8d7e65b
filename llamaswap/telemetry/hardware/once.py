"""Take the report once, beside the start, for whoever asks later. Source: telemetry §4.1."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import trio
from attrs import define, field

from llamaswap.errors import LlamaswapError

logger = logging.getLogger(__name__)

BUDGET = 10.0


class HardwareUnknown(LlamaswapError):
    """The report could not be taken."""

    status = 503


@define(eq=False)
class HardwareReport:
    """The report of this life of the program: taken once, then the same for ever."""

    root: Path = Path("/")
    _document: dict[str, Any] | None = field(default=None, init=False)
    _settled: trio.Event = field(factory=trio.Event, init=False)

    async def run(self) -> None:
        """Take it, within the budget; a failure is logged and told to whoever asks."""
        from llamaswap.telemetry.hardware.detect import detect  # needed when all else runs

        try:
            with trio.fail_after(BUDGET):
                self._document = await detect(self.root)
        except trio.TooSlowError:
            logger.warning("hardware detection unavailable: not done within %g s", BUDGET)
        except Exception as exc:  # noqa: BLE001  # whatever a machine may answer costs this page only
            logger.warning("hardware detection unavailable: %s", exc)
        finally:
            self._settled.set()

    async def get(self) -> dict[str, Any]:
        """Wait for the report.

        Raises:
            HardwareUnknown: there is none.
        """
        await self._settled.wait()
        if self._document is None:
            raise HardwareUnknown("hardware detection unavailable")
        return self._document
