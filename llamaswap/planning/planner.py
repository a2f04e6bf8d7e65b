"""The seam for swap planners: given who runs, whom does a model's start push out?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Planner(Protocol):
    """Pure, asked often (also speculatively), so it never logs and keeps no state that shows."""

    def evict(self, target: str, running: Sequence[str]) -> tuple[str, ...]:
        """The models to stop before `target` may run, in the order of `running`.

        `running`: every model that is not stopped plus every job target, sorted by id; may contain
        `target`. The answer never contains `target` and is a function of the arguments alone.
        """
        ...

    def may_run_together(self, models: Sequence[str]) -> bool:
        """Whether all of `models` can be resident at once (selector check, config §2.8)."""
        ...
