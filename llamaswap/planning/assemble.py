"""From a configuration to the planner, the rules and the scheduler it asks for."""

from __future__ import annotations

from collections.abc import Mapping

from llamaswap.config.schema import Config
from llamaswap.planning.fifo import Fifo
from llamaswap.planning.groups import Groups
from llamaswap.planning.matrix import Matrix
from llamaswap.planning.planner import Planner
from llamaswap.planning.scheduler import ModelRules, Scheduler


def planner_for(config: Config) -> Planner:
    """The swap planner that `routing.router.use` names."""
    if config.routing.matrix is not None:
        return Matrix(config.routing.matrix)
    return Groups(config.routing.groups)


def rules_for(config: Config) -> Mapping[str, ModelRules]:
    """What the scheduler must know of each local model."""
    priority = config.routing.fifo.priority
    return {
        model.id: ModelRules(
            limit=model.limit, priority=priority.get(model.id, 0), ttl=float(model.ttl)
        )
        for model in config.models.values()
    }


def scheduler_for(config: Config) -> Scheduler:
    """The scheduler that `routing.scheduler.use` names, empty."""
    return Fifo(
        rules=rules_for(config),
        planner=planner_for(config),
        max_wait=config.routing.fifo.max_wait,
    )
