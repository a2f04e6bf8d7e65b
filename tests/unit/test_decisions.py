"""Decision records: what the schedulers say about a swap, and the ring that keeps them."""

from __future__ import annotations

from llamaswap.planning.events import Decision, DecisionKind, ProcessState
from llamaswap.telemetry.bus import DecisionMade
from llamaswap.telemetry.decisions import KEPT, Decisions
from tests.unit.test_fifo import make
from tests.unit.transcripts import stage


def made(number: int) -> DecisionMade:
    return DecisionMade(
        time=float(number),
        kind="swap",
        model="m",
        evicted=(),
        reason="",
        waiters=1,
        oldest_wait=0.0,
        estimate=0.0,
    )


def test_the_ring_keeps_the_last_thousand() -> None:
    ring = Decisions()
    for number in range(KEPT + 5):
        ring.add(made(number))
    assert [decision.time for decision in ring.latest()] == list(range(5, KEPT + 5))
    assert [decision.time for decision in ring.latest(2)] == [KEPT + 3, KEPT + 4]


def test_a_swap_names_who_waits_who_goes_why_and_its_expected_cost() -> None:
    scheduler = make()
    scheduler.costs.note_unload("A", 2.0)
    scheduler.costs.note_load("B", 7.0)
    played = stage(scheduler, {"A": ProcessState.READY})
    played.play("+a1 serve a1 · +b1 pos b1")
    played.now = 4.0
    played.play("+b2 pos b1 b2 · -a1 swap B [A]")
    assert played.decisions == [
        Decision(
            kind=DecisionKind.SWAP,
            model="B",
            evicted=("A",),
            reason="A is idle",
            waiters=2,
            oldest_wait=4.0,
            estimate=9.0,
        )
    ]


def test_loads_and_stops_are_learned_from_the_states_that_pass() -> None:
    scheduler = make()
    played = stage(scheduler, {})
    played.happen("+a1")
    played.enter("A", ProcessState.STARTING)
    played.now = 12.0
    played.happen("✓A")
    assert scheduler.costs.load("A") == 12.0
    played.happen("-a1")
    played.happen("+b1")
    played.now = 15.0
    played.happen("✓B")
    assert scheduler.costs.unload("A") == 3.0


def test_a_queued_request_is_told_how_long_it_may_take() -> None:
    scheduler = make()
    for cost, model, seconds in (
        ("service", "A", 5.0),
        ("unload", "A", 1.0),
        ("load", "B", 10.0),
    ):
        getattr(scheduler.costs, f"note_{cost}")(model, seconds)
    played = stage(scheduler, {"A": ProcessState.READY})
    played.play("+a1 serve a1 · +b1 pos b1")
    assert played.waits == {"b1": 16.0}
