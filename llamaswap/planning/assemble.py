"""From a configuration to the planner, the rules and the scheduler it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llamaswap.config.schema import Config, Model
from llamaswap.planning.batch import Batch
from llamaswap.planning.bookkeeping import Bookkeeping
from llamaswap.planning.costs import Costs, Expected
from llamaswap.planning.fifo import Fifo
from llamaswap.planning.groups import Groups
from llamaswap.planning.matrix import Matrix
from llamaswap.planning.planner import Planner
from llamaswap.planning.scheduler import ModelRules


def planner_for(config: Config) -> Planner:
    """The swap planner that `routing.router.use` names."""
    if config.routing.matrix is not None:
        return Matrix(config.routing.matrix)
    return Groups(config.routing.groups)


def rules_for(config: Config) -> Mapping[str, ModelRules]:
    """What the scheduler must know of each local model."""
    routing = config.routing
    priority = routing.batch.priority if routing.scheduler == "batch" else routing.fifo.priority
    return {
        model.id: ModelRules(
            limit=model.limit,
            priority=priority.get(model.id, 0),
            slots=max(model.concurrency_limit, 0),
            ttl=float(model.ttl),
        )
        for model in config.models.values()
    }


def expected_for(
    config: Config, load_seconds: Mapping[str, float] | None = None
) -> Mapping[str, Expected]:
    """What operators say about times: `metadata.{load,unload,service}_seconds` of a model.

    `load_seconds`: what else is known of loads, by model.
    """
    known = load_seconds or {}
    return {model.id: _expected(model, known.get(model.id)) for model in config.models.values()}


def scheduler_for(
    config: Config, planner: Planner | None = None, costs: Costs | None = None
) -> Bookkeeping:
    """The scheduler that `routing.scheduler.use` names, empty.

    `planner` None: the one of `config`; `costs` None: nothing was learned yet.
    """
    routing = config.routing
    planner = planner if planner is not None else planner_for(config)
    costs = costs if costs is not None else Costs(expected_for(config))
    if routing.scheduler == "batch":
        batch = routing.batch
        return Batch(
            rules=rules_for(config),
            planner=planner,
            costs=costs,
            max_wait=batch.max_wait,
            max_queue=batch.max_queue,
            patience=batch.patience,
            min_visit=batch.min_visit,
        )
    return Fifo(
        rules=rules_for(config),
        planner=planner,
        costs=costs,
        max_wait=routing.fifo.max_wait,
    )


def _expected(model: Model, load: float | None) -> Expected:
    given = {} if load is None else {"load": load}
    given |= {
        kind: value
        for kind in ("load", "unload", "service")
        if (value := _seconds(model.metadata.get(f"{kind}_seconds"))) is not None
    }
    return Expected(**given)


def _seconds(value: Any) -> float | None:
    if type(value) in (int, float) and 0 <= value < 86_400:
        return float(value)
    return None
