"""The simulator plays as reality would: hand-made traces whose times can be checked on paper."""

from __future__ import annotations

import pytest

from llamaswap.config.schema import DEFAULT_GROUP, Group
from llamaswap.planning.batch import Batch
from llamaswap.planning.bookkeeping import Bookkeeping
from llamaswap.planning.fifo import Fifo
from llamaswap.planning.figures import figures, promise
from llamaswap.planning.groups import Groups
from llamaswap.planning.scheduler import ModelRules
from llamaswap.planning.simulator import Call, History, Machine, Stay, Wedged, simulate

ONE_SLOT = Groups({DEFAULT_GROUP: Group(members=("A", "B", "C"))})
MACHINES = {model: Machine(load=10, unload=1, slots=10) for model in "ABC"}


def fifo(limit: int = 10, ttl: float = 0.0) -> Fifo:
    rules = {model: ModelRules(limit=limit, ttl=ttl) for model in "ABC"}
    return Fifo(rules=rules, planner=ONE_SLOT)


def batch(limit: int = 10) -> Batch:
    return Batch(rules={model: ModelRules(limit=limit) for model in "ABC"}, planner=ONE_SLOT)


def call(name: str, at: float | None = None, service: float = 5.0, **keys: object) -> Call:
    return Call(id=name, model=name[0].upper(), at=at, service=service, **keys)  # type: ignore[arg-type]


def waits(history: History) -> dict[str, float | None]:
    return {served.call.id: served.wait for served in history.served}


@pytest.mark.parametrize("scheduler", [fifo(), batch()], ids=["fifo", "batch"])
def test_the_collation_of_lifecycle_4_takes_47_seconds(scheduler: Bookkeeping) -> None:
    calls = [call(name, 0.0) for name in ("a1", "b1", "c1", "a2", "b2", "c2")]
    history = simulate(scheduler, MACHINES, calls)
    if isinstance(scheduler, Batch):  # idle models are kept for the shortest of holds
        assert history.ended == pytest.approx(47.0, abs=1.0)
    else:
        assert waits(history) == {"a1": 10, "a2": 10, "b1": 26, "b2": 26, "c1": 42, "c2": 42}
        assert history.ended == 47.0
    assert history.swaps == 3
    assert history.order == ["A", "B", "C"]
    assert history.loading == 30.0


def test_what_is_granted_beyond_the_servers_slots_waits_inside_it() -> None:
    machines = {"A": Machine(load=10, slots=1)}
    rules = {"A": ModelRules(limit=10)}
    planner = Groups({DEFAULT_GROUP: Group(members=("A",))})
    history = simulate(
        Fifo(rules=rules, planner=planner), machines, [call("a1", 0.0), call("a2", 0.0)]
    )
    assert waits(history) == {"a1": 10, "a2": 15}


def test_a_closed_loop_waits_for_its_answer_and_thinks() -> None:
    calls = [call("a1", 0.0), call("a2", after="a1", think=2.0)]
    history = simulate(fifo(), MACHINES, calls)
    assert [served.arrived for served in history.served] == [0.0, 17.0]
    assert history.ended == 22.0


def test_a_client_that_leaves_is_neither_served_nor_does_it_start_anything() -> None:
    calls = [call("a1", 0.0), call("b1", 1.0, cancel=3.0)]
    history = simulate(fifo(), MACHINES, calls)
    assert [served.outcome for served in history.served] == ["done", "cancelled"]
    assert history.order == ["A"]


def test_the_ttl_is_simulated_too() -> None:
    calls = [call("a1", 0.0), call("a2", 100.0)]
    history = simulate(fifo(ttl=5.0), MACHINES, calls)
    assert history.swaps == 2
    assert history.stays[0].stopping == pytest.approx(20.0, abs=0.01)


def test_refused_requests_are_counted_not_averaged() -> None:
    history = simulate(fifo(limit=1), MACHINES, [call("a1", 0.0), call("a2", 1.0)])
    told = figures(history)
    assert (told.done, told.refused, told.all.count) == (1, 1, 1)


def test_the_figures_of_a_run() -> None:
    calls = [call("a1", 0.0, client="x"), call("b1", 0.0, client="y")]
    told = figures(simulate(fifo(), MACHINES, calls))
    assert told.all.mean == 18.0
    assert told.all.worst == told.models["B"].mean == 26.0
    assert told.makespan == 31.0
    shares = (5 / 15, 5 / 31)
    assert told.fairness == pytest.approx(sum(shares) ** 2 / (2 * sum(s * s for s in shares)))


def test_no_request_comes_after_the_end() -> None:
    history = simulate(fifo(), MACHINES, [call("a1", 0.0), call("a2", 50.0)], until=20.0)
    assert [served.call.id for served in history.served] == ["a1"]


def test_a_broken_promise_is_noticed() -> None:
    history = simulate(batch(), MACHINES, [call("a1", 0.0), call("b1", 1.0)])
    kept = promise(history, MACHINES, max_wait=60.0, min_visit=5.0)
    assert kept.kept
    late = history.served[1]
    late.arrived -= 400.0
    history.served.sort(key=lambda served: served.arrived)
    broken = promise(history, MACHINES, max_wait=60.0, min_visit=5.0)
    assert not broken.kept
    assert broken.request == "b1"
    assert broken.wait > broken.bound


def test_a_scheduler_that_forgets_somebody_is_caught() -> None:
    class Forgetful(Fifo):
        def _decide(self) -> None:
            """Never look at those who wait."""

    rules = {model: ModelRules(limit=10) for model in "AB"}
    with pytest.raises(Wedged, match="1 requests wait for nothing"):
        simulate(
            Forgetful(rules=rules, planner=ONE_SLOT), MACHINES, [call("a1", 0.0), call("b1", 1.0)]
        )


def test_stays_say_when_a_model_was_resident() -> None:
    history = simulate(fifo(), MACHINES, [call("a1", 0.0), call("b1", 1.0)])
    [first, second] = history.stays
    assert first == Stay("A", 0.0, 10.0, 15.0, 16.0, first.owed_until)
    assert (second.model, second.began, second.ready) == ("B", 16.0, 26.0)
