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

    def plans(self, target: str, running: Sequence[str]) -> Sequence[tuple[str, ...]]:
        """The evictions to choose from, at least one, `evict`'s answer first.

        Each is enough, and none contains another. For schedulers that know better than the
        configuration what an eviction costs.
        """
        ...

    def weight(self, model: str) -> float:
        """By how much the learned cost of evicting `model` counts; 1 where nobody said."""
        ...

    def explain(self, target: str, running: Sequence[str], evict: tuple[str, ...]) -> str:
        """Why `evict` is enough, as a clause for people; empty: there is nothing to add."""
        ...

    def may_run_together(self, models: Sequence[str]) -> bool:
        """Whether all of `models` can be resident at once (selector check, config §2.8)."""
        ...
