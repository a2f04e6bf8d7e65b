"""Models that left the configuration and still run: whom do they keep waiting?

The new configuration says nothing about them, so the old one is asked: whoever could run beside
them goes on, and whoever could not, or is new, waits until they are gone. Source: lifecycle §1.11.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from attrs import frozen

from llamaswap.planning.planner import Planner


@frozen
class Leaving:
    """A planner, and the one before it for what only that one knows."""

    planner: Planner
    known: Collection[str]
    """The models of the configuration that `planner` was made for."""
    before: Planner
    known_before: Collection[str]

    def evict(self, target: str, running: Sequence[str]) -> tuple[str, ...]:
        """The running models that `target` pushes out, in the order of `running`."""
        gone = [model for model in running if model not in self.known]
        if not gone:
            return self.planner.evict(target, running)
        here = [model for model in running if model in self.known]
        pushed_out = {*self.planner.evict(target, here), *self._pushed_out(target, gone)}
        return tuple(model for model in running if model in pushed_out)

    def plans(self, target: str, running: Sequence[str]) -> Sequence[tuple[str, ...]]:
        """The evictions to choose from; those that leave are in each of them, if they must go."""
        gone = [model for model in running if model not in self.known]
        if not gone:
            return self.planner.plans(target, running)
        here = [model for model in running if model in self.known]
        too = self._pushed_out(target, gone)
        return [
            tuple(model for model in running if model in plan or model in too)
            for plan in self.planner.plans(target, here)
        ]

    def weight(self, model: str) -> float:
        """What the configuration in force says."""
        return self.planner.weight(model)

    def explain(self, target: str, running: Sequence[str], evict: tuple[str, ...]) -> str:
        """What the configuration in force says."""
        here = [model for model in running if model in self.known]
        return self.planner.explain(target, here, evict)

    def may_run_together(self, models: Sequence[str]) -> bool:
        """Whether the configuration in force lets all of `models` be resident at once."""
        return self.planner.may_run_together(models)

    def _pushed_out(self, target: str, gone: list[str]) -> Collection[str]:
        if target not in self.known_before:
            return gone
        beside = sorted({*gone, target})
        return self.before.evict(target, beside)
