"""Scheduler `batch`, rule by rule. Source: scheduling §2.

Costs are the defaults: load 10 s, unload 1 s, so there and back (D) is 22 s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from llamaswap.config.schema import DEFAULT_GROUP, Group
from llamaswap.config.schema import Matrix as MatrixSettings
from llamaswap.errors import TooManyRequests
from llamaswap.planning.batch import Batch
from llamaswap.planning.events import (
    Arrived,
    DecisionKind,
    ProcessState,
    Refuse,
    Shutdown,
    SlotsKnown,
    Tick,
    TicketId,
)
from llamaswap.planning.groups import Groups
from llamaswap.planning.matrix import Matrix
from llamaswap.planning.planner import Planner
from llamaswap.planning.scheduler import ModelRules
from tests.unit.test_fifo import make as make_fifo
from tests.unit.transcripts import Stage, stage

MODELS = "ABCD"
ONE_SLOT = Groups({DEFAULT_GROUP: Group(members=tuple(MODELS))})


def make(
    planner: Planner = ONE_SLOT,
    *,
    slots: Mapping[str, int] | None = None,
    priority: Mapping[str, int] | None = None,
    **settings: Any,
) -> Batch:
    rules = {
        model: ModelRules(
            limit=10, slots=(slots or {}).get(model, 0), priority=(priority or {}).get(model, 0)
        )
        for model in MODELS
    }
    return Batch(rules=rules, planner=planner, **settings)


def played(scheduler: Batch, ready: str, transcript: str) -> Stage:
    scene = stage(scheduler, dict.fromkeys(ready, ProcessState.READY))
    scene.whole_queue = False
    scene.play(transcript)
    return scene


# rule, ready at start, keyword arguments of make(), transcript
RULES: list[tuple[str, str, dict[str, Any], str]] = [
    (
        "1 the grant window is the operator's limit",
        "A",
        {"slots": {"A": 2}},
        "+a1 serve a1 · +a2 serve a2 · +a3 – · -a1 serve a3",
    ),
    (
        "1 without a limit ten are granted",
        "A",
        {},
        " · ".join([*(f"+a{n} serve a{n}" for n in range(1, 11)), "+a11 –", "-a1 serve a11"]),
    ),
    (
        "2 a ready model serves on while another waits",
        "A",
        {},
        "+a1 serve a1 · +b1 – · +a2 serve a2 · -a1 – · @50 – · +a3 serve a3",
    ),
    (
        "4 an idle model is kept a moment",
        "A",
        {},
        "+a1 serve a1 · +b1 – · -a1 – · @0.3 – · +a2 serve a2 · -a2 – · @0.64 swap B [A]",
    ),
    (
        "5 the gate of a busy one closes when another is overdue",
        "A",
        {"max_wait": 10, "min_visit": 0.5},
        "+a1 serve a1 · +b1 – · @9 – · +a2 serve a2 · @11 – · +a3 – · -a1 – · -a2 swap B [A] "
        "· ✓B serve b1",
    ),
    (
        "5 but not before the visit was worth its swap",
        "A",
        {"max_wait": 10},
        "+a1 serve a1 · +b1 – · @100 – · +a2 serve a2 · @110 – · +a3 – · -a1 – · -a2 swap B [A]",
    ),
    (
        "5 nor before those who waited for it were granted",
        "",
        {"max_wait": 10, "min_visit": 0, "slots": {"A": 1}},
        "+a1 swap A [] · +a2 – · +a3 – · +b1 – · ✓A serve a1 · @50 – · +a4 – · -a1 serve a2 "
        "· -a2 serve a3 · -a3 swap B [A]",
    ),
    (
        "5 an overdue one goes before those who came while the victim was idle",
        "A",
        {"max_wait": 10, "min_visit": 0, "slots": {"A": 1}},
        "+a1 serve a1 · +a2 – · +b1 – · @10 – · -a1 swap B [A]",
    ),
    (
        "5 a gate opens again when nobody is overdue any more",
        "A",
        {"max_wait": 10, "min_visit": 0},
        "+a1 serve a1 · +b1 – · @10 – · +a2 – · ~b1 serve a2",
    ),
    (
        "5 maxWait 0: a busy model never yields",
        "A",
        {"max_wait": 0, "min_visit": 0},
        "+a1 serve a1 · +b1 – · @9000 – · +a2 serve a2",
    ),
    (
        "6 the longest overdue first",
        "A",
        {"max_wait": 10, "min_visit": 0, "priority": {"C": 5}},
        "+a1 serve a1 · +b1 – · @1 – · +c1 – · @30 – · -a1 swap B [A]",
    ),
    (
        "6 then priority",
        "A",
        {"priority": {"C": 5}},
        "+a1 serve a1 · +b1 – · +b2 – · +c1 – · -a1 – · @1 swap C [A]",
    ),
    (
        "6 then the most waiting relieved a second",
        "A",
        {},
        "+a1 serve a1 · +b1 – · +c1 – · +c2 – · +c3 – · -a1 – · @1 swap C [A]",
    ),
    (
        "7 swaps with different victims go side by side",
        "AC",
        {
            "planner": Groups(
                {
                    "one": Group(members=("A", "B"), exclusive=False),
                    "two": Group(members=("C", "D"), exclusive=False),
                }
            )
        },
        "+b1 – · +d1 – · @1 swap B [A], swap D [C] · ✓D serve d1 · ✓B serve b1",
    ),
    (
        "9 what runs is never cut for a swap",
        "A",
        {"max_wait": 1, "min_visit": 0},
        "+a1 serve a1 · +b1 – · @5000 – · -a1 swap B [A]",
    ),
    (
        "a failed load fails those who waited for it, and the next one tries again",
        "",
        {},
        "+a1 swap A [] · +a2 – · ✗A fail a1 a2 · +a3 swap A []",
    ),
    (
        "who comes after an unload waits for the next job",
        "",
        {},
        "+a1 swap A [] · ⊘A fail a1, stop A · +a2 – · ⊗A swap A [] · ✓A serve a2",
    ),
    (
        "a crash makes room",
        "A",
        {},
        "+a1 serve a1 · +b1 – · A↓ swap B [] · -a1 – · ✓B serve b1",
    ),
]


@pytest.mark.parametrize(
    ("ready", "keys", "transcript"), [rule[1:] for rule in RULES], ids=[rule[0] for rule in RULES]
)
def test_rule(ready: str, keys: dict[str, Any], transcript: str) -> None:
    played(make(**keys), ready, transcript)


def test_1_the_server_says_how_many_it_takes() -> None:
    scheduler = make()
    scene = played(scheduler, "A", "+a1 serve a1")
    scheduler.handle(SlotsKnown("A", 1), 0.0)
    scene.play("+a2 – · -a1 serve a2")
    scheduler.handle(SlotsKnown("A", 3), 0.0)
    scene.play("+a3 serve a3 · +a4 serve a4 · +a5 –")


def test_1_a_full_line_is_refused_with_the_expected_wait() -> None:
    scheduler = make(max_queue=2)
    scheduler.costs.note_load("B", 40.0)
    played(scheduler, "A", "+a1 serve a1 · +b1 – · +b2 –")
    [effect] = scheduler.handle(Arrived(TicketId(99), "B"), 0.0)
    assert isinstance(effect, Refuse)
    assert isinstance(effect.error, TooManyRequests)
    assert effect.error.retry_after >= 40
    assert "2 requests wait for B" in str(effect.error)


def test_3_a_victim_that_is_idle_is_better_than_one_that_is_busy() -> None:
    planner = Matrix(MatrixSettings(sets={"one": "C & A", "two": "C & B"}))
    played(make(planner), "AB", "+b1 serve b1 · +c1 – · @1 swap C [A]")


def test_3_then_the_one_that_is_wanted_least() -> None:
    planner = Matrix(MatrixSettings(sets={"one": "C & A", "two": "C & B"}))
    scheduler = make(planner)
    transcript = "+b1 serve b1 · +b2 serve b2 · +a1 serve a1 · -a1 – · -b1 – · -b2 – · +c1 –"
    played(scheduler, "AB", f"{transcript} · @2 swap C [A]")


def test_3_costs_of_the_operator_count() -> None:
    costs = {"A": 50}
    planner = Matrix(MatrixSettings(sets={"one": "C & A", "two": "C & B"}, evict_costs=costs))
    scheduler = make(planner)
    transcript = "+b1 serve b1 · +b2 serve b2 · +a1 serve a1 · -a1 – · -b1 – · -b2 – · +c1 –"
    played(scheduler, "AB", f"{transcript} · @2 swap C [B]")


def test_4_a_model_whose_pauses_are_short_is_kept_for_most_of_them() -> None:
    scheduler = make()
    pauses = [step for n in range(2, 8) for step in (f"@{n * 2.0} –", f"+a{n} serve a{n}")]
    answers = [f"@{n * 2.0 + 1.2} – · -a{n} –" for n in range(2, 8)]
    steps = ["+a1 serve a1", "@3.2 –", "-a1 –"]
    for number in range(6):
        steps += [*pauses[2 * number : 2 * number + 2], answers[number]]
    scene = played(scheduler, "A", " · ".join(steps))
    assert scheduler.costs.pause("A") == pytest.approx(0.8)
    scene.play("+b1 – · @16.2 – · @16.31 swap B [A]")  # 0.8 s × 1.25 + 0.1 s


def test_4_a_model_whose_pauses_are_long_is_not_kept_at_all() -> None:
    scheduler = make()
    for pause in (50.0, 60.0, 70.0, 80.0):
        scheduler.costs.note_idle("A", 0.0)
        scheduler.costs.note_arrival("A", pause)
    played(scheduler, "A", "@100 – · +a1 serve a1 · +b1 – · -a1 swap B [A]")


def test_10_a_hold_and_a_gate_are_said_once() -> None:
    scheduler = make(max_wait=10, min_visit=0.5)
    scene = played(
        scheduler,
        "A",
        "+a1 serve a1 · +b1 – · -a1 – · +a2 serve a2 · -a2 – · +a3 serve a3 · @11 – · +b2 – "
        "· -a3 swap B [A]",
    )
    told = [(d.kind, d.model, d.evicted) for d in scene.decisions]
    assert told == [
        (DecisionKind.HOLD, "B", ("A",)),
        (DecisionKind.GATE, "B", ("A",)),
        (DecisionKind.SWAP, "B", ("A",)),
    ]
    hold, gate, swap = scene.decisions
    assert hold.estimate == pytest.approx(0.33)
    assert gate.reason == "it waited longer than 10 s"
    assert swap.waiters == 2
    assert swap.oldest_wait == 11.0


def test_places_are_told_on_arrival_and_twice_a_second() -> None:
    scheduler = make(slots={"A": 1})
    scene = played(scheduler, "A", "+a1 serve a1 · +a2 – · +a3 – · +a4 –")
    assert scene.positions == {"a2": 1, "a3": 2, "a4": 3}
    scene.play("-a1 serve a2")
    assert scene.positions == {"a3": 2, "a4": 3}
    assert scheduler.next_wakeup() == 0.5
    scene.play("@0.5 –")
    assert scene.positions == {"a3": 1, "a4": 2}


def test_nothing_ticks_after_a_shutdown() -> None:
    scheduler = make()
    played(scheduler, "A", "+a1 serve a1 · +b1 –")
    scheduler.handle(Shutdown(), 1.0)
    scheduler.handle(Tick(), 70.0)
    assert scheduler.next_wakeup() == float("inf")


def test_loads_that_take_no_time_are_no_trouble() -> None:
    scheduler = make()
    for model in "AB":
        scheduler.costs.note_load(model, 0.0)
        scheduler.costs.note_service(model, 0.0)
    scheduler.costs.note_unload("A", 0.0)
    played(scheduler, "A", "+a1 serve a1 · +b1 – · +c1 – · -a1 – · @5 swap B [A]")


def test_a_reload_may_change_the_scheduler_under_those_who_wait() -> None:
    fifo = make_fifo(models="ABCD")
    scene = stage(fifo, {"A": ProcessState.READY})
    scene.play("+a1 serve a1 · +b1 pos b1 · +c1 pos b1 c1")
    batch = make()
    assert batch.take_over(fifo, 1.0) == []
    scene.scheduler, scene.whole_queue = batch, False
    scene.play("@1 – · -a1 – · @1.4 swap B [A]")
    again = make_fifo(models="ABCD")
    again.take_over(batch, 2.0)
    scene.scheduler = again
    scene.play("@2 – · +b2 – · ✓B serve b1 b2 · -b1 – · -b2 swap C [B]")


def test_a_job_of_fifo_goes_on_under_batch() -> None:
    fifo = make_fifo(models="ABCD")
    scene = stage(fifo, {})
    scene.play("+a1 swap A [] · +a2 –")
    batch = make()
    batch.take_over(fifo, 1.0)
    scene.scheduler, scene.whole_queue = batch, False
    scene.play("@1 – · ✓A serve a1 a2")
