"""A reload does not wind up the clock of an idle model. Source: lifecycle §1.11."""

from __future__ import annotations

from typing import Literal

import pytest

from llamaswap.config.schema import DEFAULT_GROUP, Config, Group, Model, Routing
from llamaswap.planning.assemble import scheduler_for
from llamaswap.planning.events import ProcessState, StateChanged, Stop, StopReason, Tick

Scheduler = Literal["fifo", "batch"]


def configured(scheduler: Scheduler, ttl: int) -> Config:
    models = {name: Model(id=name, ttl=ttl) for name in "ab"}
    groups = {DEFAULT_GROUP: Group(members=("a", "b"))}
    return Config(models=models, routing=Routing(groups=groups, scheduler=scheduler))


@pytest.mark.parametrize("scheduler", ["fifo", "batch"])
@pytest.mark.parametrize(("before", "after", "due"), [(30, 30, 30), (90, 30, 30), (30, 90, 90)])
def test_a_ttl_counts_from_when_the_model_became_idle(
    scheduler: Scheduler, before: int, after: int, due: int
) -> None:
    old = scheduler_for(configured(scheduler, before))
    old.handle(StateChanged("a", ProcessState.READY), 0)
    new = scheduler_for(configured(scheduler, after))
    new.take_over(old, 20)
    assert new.next_wakeup() == pytest.approx(due, abs=0.01)
    assert Stop(("a",), StopReason.TTL) in new.handle(Tick(), new.next_wakeup())
