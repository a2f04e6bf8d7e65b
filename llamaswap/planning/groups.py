"""Swap planner `group`: models share slots by group. Source: lifecycle §3.1, config part 5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llamaswap.config.schema import DEFAULT_GROUP, Group


class Groups:
    """Who must go before a model may run, from group membership alone."""

    def __init__(self, groups: Mapping[str, Group]) -> None:
        self._group_of = {
            member: (name, group) for name, group in groups.items() for member in group.members
        }
        # a model that left the configuration and still stops is treated as one in no group
        self._nobody = (DEFAULT_GROUP, groups.get(DEFAULT_GROUP, Group()))

    def evict(self, target: str, running: Sequence[str]) -> tuple[str, ...]:
        """The running models that `target` pushes out, in the order of `running`."""
        name, group = self._group_of.get(target, self._nobody)
        evicted = []
        for other in running:
            if other == target:
                continue
            other_name, other_group = self._group_of.get(other, self._nobody)
            if name == other_name:
                goes = group.swap
            else:
                # one-way on purpose: an exclusive group is not protected from company
                goes = group.exclusive and not other_group.persistent
            if goes:
                evicted.append(other)
        return tuple(evicted)

    def plans(self, target: str, running: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """Groups leave no choice."""
        return (self.evict(target, running),)

    def weight(self, model: str) -> float:
        """Every model counts alike."""
        return 1.0

    def explain(self, target: str, running: Sequence[str], evict: tuple[str, ...]) -> str:
        """Membership says it all."""
        return ""

    def may_run_together(self, models: Sequence[str]) -> bool:
        """All in one group that does not swap."""
        groups = {self._group_of.get(model, self._nobody)[0] for model in models}
        if len(set(models)) < 2:
            return True
        return len(groups) == 1 and not self._group_of.get(models[0], self._nobody)[1].swap
