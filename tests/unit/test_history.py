"""Defects of order that the reference once had, by their number. Source: lifecycle §9.

Each is played under both schedulers.
"""

from __future__ import annotations

import pytest

from llamaswap.config.schema import DEFAULT_GROUP, Group
from llamaswap.config.schema import Matrix as MatrixSettings
from llamaswap.planning.batch import Batch
from llamaswap.planning.bookkeeping import Bookkeeping
from llamaswap.planning.events import Admit, Arrived, ProcessState, Refuse, TicketId
from llamaswap.planning.fifo import Fifo
from llamaswap.planning.groups import Groups
from llamaswap.planning.matrix import Matrix
from llamaswap.planning.planner import Planner
from llamaswap.planning.scheduler import ModelRules
from tests.unit.transcripts import Stage, stage

ONE_SLOT = Groups({DEFAULT_GROUP: Group(members=("A", "B", "C"))})
KINDS = pytest.mark.parametrize("kind", [Fifo, Batch])


def make(
    kind: type[Bookkeeping],
    planner: Planner = ONE_SLOT,
    *,
    limit: int = 10,
    ttl: float = 0.0,
    urgent: str = "",
) -> Bookkeeping:
    rules = {
        model: ModelRules(limit=limit, ttl=ttl, priority=9 if model in urgent else 0)
        for model in "ABC"
    }
    if kind is Fifo:
        return Fifo(rules=rules, planner=planner)
    return Batch(rules=rules, planner=planner, patience=0.0, max_queue=limit)


def on(scheduler: Bookkeeping, ready: str = "") -> Stage:
    scene = stage(scheduler, dict.fromkeys(ready, ProcessState.READY))
    scene.whole_queue = False
    return scene


@KINDS
def test_issue_19_a_swap_does_not_kill_requests_in_flight(kind: type[Bookkeeping]) -> None:
    on(make(kind), "A").play("+a1 serve a1 · +b1 – · -a1 swap B [A]")


@KINDS
def test_issue_25_the_ttl_counts_from_the_end_of_the_last_request(kind: type[Bookkeeping]) -> None:
    on(make(kind, ttl=5), "A").play("+a1 serve a1 · @60 – · -a1 – · @65 – · @65.1 stop A")


@KINDS
def test_issue_28_a_stopped_model_has_no_ttl_left(kind: type[Bookkeeping]) -> None:
    scheduler = make(kind, ttl=5)
    on(scheduler, "A").play("A↓ – · @100 –")
    assert scheduler.next_wakeup() == float("inf")


@KINDS
def test_issue_125_an_unload_does_not_wait_for_requests_in_flight(kind: type[Bookkeeping]) -> None:
    on(make(kind), "A").play("+a1 serve a1 · ⊘A stop A · -a1 – · +a2 swap A []")


@KINDS
def test_issue_155_after_a_failed_start_the_next_request_tries_again(
    kind: type[Bookkeeping],
) -> None:
    on(make(kind)).play("+a1 swap A [] · ✗A fail a1 · +a2 swap A [] · ✓A serve a2")


@KINDS
def test_issue_277_parallel_requests_for_two_models_start_one_after_the_other(
    kind: type[Bookkeeping],
) -> None:
    on(make(kind)).play("+a1 swap A [] · +b1 – · ✓A serve a1 · -a1 swap B [A] · ✓B serve b1")


@KINDS
def test_issue_588_waiting_requests_of_a_model_are_served_together(
    kind: type[Bookkeeping],
) -> None:
    on(make(kind)).play(
        "+a1 swap A [] · +b1 – · +a2 – · +b2 – · ✓A serve a1 a2 · -a1 – · -a2 swap B [A] "
        "· ✓B serve b1 b2"
    )


@KINDS
def test_issue_635_nobody_is_granted_to_a_model_that_is_being_swapped_out(
    kind: type[Bookkeeping],
) -> None:
    on(make(kind), "A").play("+b1 swap B [A] · +a1 – · ✓B serve b1 · -b1 swap A [B] · ✓A serve a1")


@KINDS
def test_issue_667_a_request_between_the_idle_check_and_the_stop_is_not_lost(
    kind: type[Bookkeeping],
) -> None:
    on(make(kind, ttl=5), "A").play("@5.1 stop A · +a1 swap A [] · ✓A serve a1")


@KINDS
def test_issue_670_a_model_that_starts_counts_as_running_for_the_matrix(
    kind: type[Bookkeeping],
) -> None:
    planner = Matrix(MatrixSettings(sets={"one": "A", "two": "B"}))
    on(make(kind, planner)).play("+a1 swap A [] · +b1 – · ✓A serve a1 · -a1 swap B [A]")


@KINDS
def test_issue_677_a_model_that_stops_counts_as_running_for_the_matrix(
    kind: type[Bookkeeping],
) -> None:
    planner = Matrix(MatrixSettings(sets={"one": "A", "two": "B"}))
    scene = stage(make(kind, planner), {"A": ProcessState.STOPPING})
    scene.whole_queue = False
    scene.play("+b1 swap B [A] · ✓B serve b1")


@KINDS
def test_issue_797_a_higher_priority_waits_in_front(kind: type[Bookkeeping]) -> None:
    on(make(kind, urgent="C"), "A").play("+a1 serve a1 · +b1 – · +c1 – · -a1 swap C [A]")


@KINDS
def test_issue_849_the_limit_counts_those_who_wait_for_a_load(kind: type[Bookkeeping]) -> None:
    on(make(kind, limit=2)).play("+a1 swap A [] · +a2 – · +a3 429 a3 · ✓A serve a1 a2")


@KINDS
def test_issue_887_a_refusal_comes_instead_of_an_admission(kind: type[Bookkeeping]) -> None:
    scheduler = make(kind, limit=1)
    first = scheduler.handle(Arrived(TicketId(1), "A"), 0.0)
    assert isinstance(first[0], Admit)
    second = scheduler.handle(Arrived(TicketId(2), "A"), 0.0)
    assert [type(effect) for effect in second] == [Refuse]


@KINDS
def test_issue_946_a_request_during_a_stop_waits_for_it_and_starts_afresh(
    kind: type[Bookkeeping],
) -> None:
    scene = stage(make(kind), {"A": ProcessState.STOPPING})
    scene.whole_queue = False
    scene.play("+a1 swap A [] · ✓A serve a1")
