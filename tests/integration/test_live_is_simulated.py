"""The same trace, live and simulated: real children swap in the order the simulator foretold.

Load times are scaled down; the trace leaves gaps that are wide against the jitter of a busy
machine. Source: scheduling §3, issue: live = simulated.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import trio
from attrs import evolve

from llamaswap.config.schema import Batch, Config
from llamaswap.planning.assemble import scheduler_for
from llamaswap.planning.costs import Costs, Expected
from llamaswap.planning.simulator import Call, Machine, simulate
from tests.integration.test_supervisor import configure, model, running

LOAD, UNLOAD = 0.4, 0.2
"""Seconds; a child needs some time of its own to start and to stop."""


def call(name: str, at: float, service: float) -> Call:
    return Call(id=name, model=name[0], at=at, service=service)


TRACE = [
    call("a1", 0.0, 2.5),
    call("b1", 0.1, 1.0),
    call("c1", 0.2, 1.0),
    call("a2", 0.3, 2.5),
    call("b2", 0.4, 1.0),
    call("c2", 0.5, 1.0),
    call("c3", 0.6, 1.0),
]
"""b came first, but c has more who wait: fifo takes b, batch takes c."""


def configured(scheduler: str) -> Config:
    models = [model(name, "--ready-after", str(LOAD)) for name in "abc"]
    config = configure(*models)
    routing = evolve(
        config.routing,
        scheduler="batch" if scheduler == "batch" else "fifo",
        batch=Batch(patience=0.0),
    )
    return evolve(config, routing=routing)


def foretold(config: Config) -> list[str]:
    machines = {name: Machine(load=LOAD, unload=UNLOAD, slots=10) for name in "abc"}
    scheduler = scheduler_for(config, costs=costs_of(machines))
    return simulate(scheduler, machines, TRACE).order


def costs_of(machines: Mapping[str, Machine]) -> Costs:
    return Costs({name: Expected(load=m.load, unload=m.unload) for name, m in machines.items()})


@pytest.mark.parametrize(("scheduler", "order"), [("fifo", "abc"), ("batch", "acb")])
async def test_the_order_of_swaps_is_the_simulated_one(scheduler: str, order: str) -> None:
    config = configured(scheduler)
    assert "".join(foretold(config)) == order
    async with running(config) as rig:
        machines = {name: Machine(load=LOAD, unload=UNLOAD) for name in "abc"}
        rig.supervisor.costs.expect(costs_of(machines).expected)

        async def ask(one: Call) -> None:
            async with rig.supervisor.lease(one.model):
                await trio.sleep(one.service)

        async with trio.open_nursery() as nursery:
            began = trio.current_time()
            for one in TRACE:
                assert one.at is not None
                await trio.sleep_until(began + one.at)
                nursery.start_soon(ask, one)
        assert rig.starts() == list(order)
