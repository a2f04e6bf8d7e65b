"""Scheduler `fifo`, trace by trace. Source: lifecycle §5.1–5.5, §5.8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llamaswap.config.load import load_config
from llamaswap.config.schema import DEFAULT_GROUP, Group
from llamaswap.errors import (
    ModelUnknown,
    ModelUnloaded,
    ShuttingDown,
    TooManyRequests,
)
from llamaswap.planning.assemble import rules_for
from llamaswap.planning.events import (
    Admit,
    Arrived,
    Grant,
    JobDone,
    JobId,
    ProcessState,
    Refuse,
    Released,
    Shutdown,
    StartJob,
    StateChanged,
    Stop,
    StopReason,
    Tick,
    TicketId,
    Unload,
)
from llamaswap.planning.fifo import Fifo
from llamaswap.planning.groups import Groups
from llamaswap.planning.scheduler import ModelRules
from tests.unit.transcripts import stage

MODELS = "ABCDENPQ"
EX: dict[str, Any] = {}
NON: dict[str, Any] = {"exclusive": False}
PAR: dict[str, Any] = {"swap": False}


def make(
    groups: dict[str, Group] | None = None,
    *,
    limits: dict[str, int] | None = None,
    priority: dict[str, int] | None = None,
    max_wait: float = 0.0,
    ttl: dict[str, float] | None = None,
    models: str = MODELS + "Z",
) -> Fifo:
    groups = dict(groups or {})
    taken = {member for group in groups.values() for member in group.members}
    groups[DEFAULT_GROUP] = Group(members=tuple(m for m in models if m not in taken))
    rules = {
        model: ModelRules(
            limit=(limits or {}).get(model, 10),
            priority=(priority or {}).get(model, 0),
            ttl=(ttl or {}).get(model, 0.0),
        )
        for model in models
    }
    return Fifo(rules=rules, planner=Groups(groups), max_wait=max_wait)


def group(members: str, **keys: Any) -> Group:
    return Group(members=tuple(members), **keys)


# trace, ready at start, keyword arguments of make(), transcript
TRACES: list[tuple[str, str, dict[str, Any], str]] = [
    ("S01", "", {}, "+a1 swap A [] · ✓A serve a1 · -a1 –"),
    ("S02", "A", {}, "+a1 serve a1 · +a2 serve a2 · -a1 – · -a2 –"),
    ("S03", "", {}, "+a1 swap A [] · +a2 – · +a3 – · ✓A serve a1 a2 a3"),
    ("S04", "", {}, "+a1 swap A [] · +a2 – · ✗A fail a1 a2 · +a3 swap A []"),
    ("S05", "", {"models": "AB"}, "+z1 404 z1"),
    (
        "S06",
        "",
        {},
        "+a1 swap A [] · +b1 pos b1 · +c1 pos b1 c1 · +a2 – · +b2 pos b1 c1 b2 "
        "· +c2 pos b1 c1 b2 c2 · ✓A serve a1 a2 · -a1 – · -a2 swap B [A], pos c1 c2 "
        "· ✓B serve b1 b2 · -b1 – · -b2 swap C [B], pos · ✓C serve c1 c2",
    ),
    (
        "S07",
        "A",
        {},
        "+a1 serve a1 · +b1 pos b1 · +a2 serve a2 · +b2 pos b1 b2 · +a3 serve a3 "
        "· +c1 pos b1 b2 c1 · -a1 – · -a2 – · -a3 swap B [A], pos c1 · ✓B serve b1 b2 "
        "· -b1 – · -b2 swap C [B]",
    ),
    (
        "S08",
        "A",
        {},
        "+a1 serve a1 · +b1 pos b1 · +a2 serve a2 · -a1 – · +a3 serve a3 · -a2 – "
        "· +a4 serve a4 · -a3 – · -a4 swap B [A]",
    ),
    (
        "S09",
        "A",
        {},
        "+b1 swap B [A] · +a1 pos a1 · +b2 – · ✓B serve b1 b2 · -b1 – · -b2 swap A [B]",
    ),
    ("S10", "A", {}, "+b1 swap B [A] · +a1 pos a1 · ✗B fail b1, swap A [] · ✓A serve a1"),
    ("S11", "A", {}, "+b1 swap B [A] · ✗B fail b1 · +a1 swap A []"),
    ("S12", "A", {}, "+b1 swap B [A] · ~b1 – · +a1 pos a1 · ✓B swap A [B]"),
    (
        "S14",
        "A",
        {},
        "+a1 serve a1 · +b1 pos b1 · +c1 pos b1 c1 · +b2 – · +c2 pos b1 c1 b2 c2 "
        "· ~b1 pos c1 b2 c2 · -a1 swap C [A], pos b2 · ✓C serve c1 c2",
    ),
    (
        "C01",
        "",
        {},
        "+a1 swap A [] · +b1 pos b1 · +c1 pos b1 c1 · ~b1 pos c1 · ✓A serve a1 · -a1 swap C [A]",
    ),
    ("C02", "", {}, "+a1 swap A [] · +b1 pos b1 · ~a1 – · ✓A swap B [A]"),
    ("C03", "", {}, "+a1 swap A [] · +a2 – · ~a1 – · ✓A serve a2"),
    ("C04", "A", {}, "+a1 serve a1 · +b1 pos b1 · ~a1 swap B [A]"),
    # a client that left unseen: its grant is followed by its release
    ("C05", "", {}, "+a1 swap A [] · ✓A serve a1 · ~a1 – · +b1 swap B [A]"),
    (
        "C06",
        "",
        {},
        "+a1 swap A [] · +a2 – · +b1 pos b1 · ✓A serve a1 a2 · ~a1 – · -a2 swap B [A]",
    ),
    ("L01", "A", {"limits": {"A": 1}}, "+a1 serve a1 · +a2 429 a2 · -a1 – · +a3 serve a3"),
    (
        "L02",
        "A",
        {},
        "+a1 serve a1 · +a2 serve a2 · +a3 serve a3 · +a4 serve a4 · +a5 serve a5 "
        "· +a6 serve a6 · +a7 serve a7 · +a8 serve a8 · +a9 serve a9 · +a10 serve a10 "
        "· +a11 429 a11",
    ),
    ("L03", "", {"limits": {"A": 2}}, "+a1 swap A [] · +a2 – · +a3 429 a3 · ✓A serve a1 a2"),
    (
        "L04",
        "",
        {"limits": {"A": 1}},
        "+b1 swap B [] · +a1 pos a1 · +a2 429 a2 · ~a1 – · +a3 pos a3 · ✓B serve b1 "
        "· -b1 swap A [B] · ✓A serve a3",
    ),
    (
        "L05",
        "",
        {"limits": {"A": 1}},
        "+a1 swap A [] · +a2 429 a2 · ✗A fail a1 · +a3 swap A []",
    ),
    (
        "P01",
        "",
        {"priority": {"A": 10, "B": 5, "C": 5, "D": 1}},
        "+z1 swap Z [] · +b1 pos b1 · +d1 pos b1 d1 · +c1 pos b1 c1 d1 · +a1 pos a1 b1 c1 d1 "
        "· ✓Z serve z1 · -z1 swap A [Z], pos b1 c1 d1 · ✓A serve a1 · -a1 swap B [A], pos c1 d1",
    ),
    (
        "P02",
        "",
        {"priority": {"A": -1}},
        "+z1 swap Z [] · +a1 pos a1 · +b1 pos b1 a1 · +c1 pos b1 c1 a1",
    ),
    (
        "P03",
        "A",
        {"priority": {"B": 100}},
        "+a1 serve a1 · +b1 pos b1 · +a2 serve a2 · -a1 – · -a2 swap B [A]",
    ),
    (
        "P04",
        "A",
        {"priority": {"C": 5}},
        "+a1 serve a1 · +b1 pos b1 · +c1 pos c1 b1 · +b2 pos c1 b1 b2 · -a1 swap C [A], pos b1 b2 "
        "· ✓C serve c1 · -c1 swap B [C] · ✓B serve b1 b2",
    ),
    (
        "P05",
        "AC",
        {
            "groups": {"g1": group("AB", **NON), "g2": group("CD", **NON)},
            "priority": {"B": 100},
        },
        "+a1 serve a1 · +c1 serve c1 · +d1 pos d1 · +b1 pos b1 d1 · -c1 swap D [C] "
        "· -a1 swap B [A]",
    ),
    ("U01", "A", {}, "⊘A stop A · +a1 swap A []"),
    ("U02", "A", {}, "+a1 serve a1 · +b1 pos b1 · ⊘A stop A, swap B [] · -a1 –"),
    (
        "U03",
        "",
        {},
        "+a1 swap A [] · +a2 – · +b1 pos b1 · ⊘A fail a1 a2, stop A · ⊗A swap B [] · ✓B serve b1",
    ),
    (
        "U04",
        "",
        {},
        "+a1 swap A [] · ⊘A fail a1, stop A · +a2 pos a2 · ⊗A swap A [] · ✓A serve a2",
    ),
    (
        "U05",
        "A",
        {},
        "+b1 swap B [A] · ⊘B fail b1, stop B · +a1 pos a1 · ⊗B swap A [] · ✓A serve a1",
    ),
    (
        "U06",
        "",
        {},
        "+a1 swap A [] · +b1 pos b1 · ⊘B fail b1, stop B · ✓A serve a1 · -a1 –",
    ),
    ("U07", "A", {}, "+b1 swap B [A] · ⊘A stop A · ✓B serve b1"),
    (
        "U08",
        "A",
        {},
        "+a1 serve a1 · +b1 pos b1 · +c1 pos b1 c1 · ⊘A,B,C fail b1 c1, stop A B C · -a1 –",
    ),
    ("U09", "A", {}, "⊘B stop B · +a1 serve a1"),
    ("U10", "ACE", {"groups": {"p": group("ACE", **PAR)}}, "⊘A,E,C stop A C E"),
    ("X01", "A", {}, "+a1 serve a1 · A↓ – · +a2 swap A [] · -a1 – · ✓A serve a2"),
    ("X02", "A", {}, "+a1 serve a1 · +b1 pos b1 · A↓ swap B [] · -a1 – · ✓B serve b1"),
    ("X03", "A", {}, "+a1 serve a1 · A↓ – · +b1 swap B []"),
    (
        "T03",
        "A",
        {"ttl": {"A": 5}},
        "+a1 serve a1 · @100 – · -a1 – · @105 – · @105.1 stop A",
    ),
    ("T04", "A", {"ttl": {"A": 5}}, "@5.1 stop A · +a1 swap A [] · ✓A serve a1"),
    ("T05 idle since ready", "A", {"ttl": {"A": 30}}, "@1 – · @30 – · @30.1 stop A"),
    (
        "T06 no expiry of an evictee",
        "A",
        {"ttl": {"A": 5}},
        "+b1 swap B [A] · @50 – · ✓B serve b1",
    ),
    (
        "T07 no expiry of a target",
        "AN",
        {
            "ttl": {"A": 5},
            "groups": {"ex": group("A"), "non": group("N", **NON)},
        },
        "@3 – · +a1 swap A [N] · @6 – · ✓A serve a1",
    ),
    (
        "Q01",
        "C",
        {},
        "+a1 swap A [C] · +a2 – · +b1 pos b1 · ⏻ 503 a1 a2 b1 · ⊗A –",
    ),
    ("Q02", "A", {}, "+a1 serve a1 · +b1 pos b1 · ⏻ 503 b1 · +a9 503 a9 · -a1 –"),
    (
        "G01",
        "A",
        {"groups": {"ex": group("A"), "non": group("N", **NON)}},
        "+n1 swap N [] · ✓N serve n1 · -n1 – · +a1 swap A [N] · ✓A serve a1",
    ),
    ("G02", "N", {"groups": {"ex": group("A"), "non": group("N", **NON)}}, "+a1 swap A [N]"),
    (
        "G03",
        "AN",
        {"groups": {"ex": group("A"), "non": group("N", **NON)}},
        "+n1 serve n1 · +a1 pos a1 · -n1 swap A [N] · ✓A serve a1",
    ),
    (
        "G04",
        "AN",
        {"groups": {"ex": group("A"), "non": group("N", **NON)}},
        "+a1 swap A [N] · +a2 – · +n1 pos n1 · ✓A serve a1 a2, swap N []",
    ),
    (
        "G05",
        "A",
        {"groups": {"ex": group("A"), "non": group("N", **NON)}},
        "+a1 serve a1 · +n1 swap N [] · ✓N serve n1 · -n1 – · +a2 swap A [N] · ✓A serve a2",
    ),
    (
        "G06",
        "PA",
        {"groups": {"keep": group("P", persistent=True, **NON), "ex": group("AB")}},
        "+b1 swap B [A] · ✓B serve b1 · +p1 serve p1",
    ),
    ("G07", "P", {"groups": {"keep": group("PQ", persistent=True)}}, "+q1 swap Q [P]"),
    (
        "G08",
        "A",
        {"groups": {"par": group("CD", **PAR)}},
        "+c1 swap C [A] · +d1 pos d1 · ✓C serve c1, swap D [] · ✓D serve d1",
    ),
    (
        "G09",
        "",
        {"groups": {"g1": group("A", **NON), "g2": group("B", **NON)}},
        "+a1 swap A [] · +b1 swap B [] · ✓B serve b1 · ✓A serve a1",
    ),
    (
        "G10",
        "",
        {"groups": {"g1": group("AB", **NON)}},
        "+a1 swap A [] · +b1 pos b1 · ✓A serve a1 · -a1 swap B [A]",
    ),
    (
        "G11",
        "CD",
        {"groups": {"par": group("CD", **PAR, **NON)}},
        "+a1 swap A [C D] · ✓A serve a1 · -a1 – · +c1 swap C []",
    ),
    (
        "G12",
        "C",
        {"groups": {"par": group("CD", **PAR)}},
        "+d1 swap D [] · ✓D serve d1 · +c1 serve c1 · +a1 pos a1 · -c1 – · -d1 swap A [C D]",
    ),
    (
        "G13",
        "CD",
        {"groups": {"par": group("CD", **PAR, **NON)}},
        "+c1 serve c1 · +d1 serve d1 · +a1 pos a1 · -c1 – · -d1 swap A [C D]",
    ),
    (
        "G14",
        "CD",
        {"groups": {"ex": group("A"), "par": group("CD", **PAR, **NON)}},
        "+a1 swap A [C D] · +c1 pos c1 · +d1 pos c1 d1 · ✓A serve a1, swap C [], swap D []",
    ),
    (
        "G15",
        "AC",
        {"groups": {"g1": group("AB", **NON), "g2": group("CD", **NON)}},
        "+a1 serve a1 · +c1 serve c1 · +b1 pos b1 · +d1 pos b1 d1 · -c1 swap D [C], pos b1 "
        "· -a1 swap B [A]",
    ),
    (
        "D01",
        "A",
        {"max_wait": 10},
        "+a1 serve a1 · @1 – · +b1 pos b1 · @9 – · +a2 serve a2 · @12 – · +a3 pos b1 a3 · @13 – "
        "· -a1 – · @14 – · -a2 swap B [A] · ✓B serve b1 · -b1 swap A [B] · ✓A serve a3",
    ),
    (
        "D02",
        "A",
        {"max_wait": 10, "priority": {"C": 9}},
        "+a1 serve a1 · @1 – · +b1 – · @2 – · +c1 pos c1 b1 · @12 pos b1 c1 · @13 – "
        "· -a1 swap B [A] · ✓B serve b1 · +c2 pos c1 c2 · -b1 swap C [B] · ✓C serve c1 c2",
    ),
    (
        "D03",
        "A",
        {"max_wait": 10},
        "+a1 serve a1 · @1 – · +b1 pos b1 · @13 – · +a2 pos b1 a2 · @14 – · ~b1 serve a2",
    ),
    (
        "D04",
        "AC",
        {"max_wait": 10, "groups": {"g1": group("AB", **NON), "g2": group("CD", **NON)}},
        "+a1 serve a1 · +c1 serve c1 · @1 – · +b1 – · @13 – · +d1 pos b1 d1 · @14 – "
        "· -c1 swap D [C] · @15 – · +a2 pos b1 a2 · @16 – · -a1 swap B [A]",
    ),
]


@pytest.mark.parametrize(
    ("ready", "keys", "transcript"),
    [trace[1:] for trace in TRACES],
    ids=[trace[0] for trace in TRACES],
)
def test_trace(ready: str, keys: dict[str, Any], transcript: str) -> None:
    stage(make(**keys), dict.fromkeys(ready, ProcessState.READY)).play(transcript)


OTHER_STATES = [
    ("S13", ProcessState.STARTING, "+a1 swap A [] · +b1 pos b1 · ✓A serve a1"),
    ("T01", ProcessState.STOPPING, "+a1 swap A [] · ✓A serve a1"),
    (
        "T02",
        ProcessState.STOPPING,
        "+b1 swap B [A] · +a1 pos a1 · ✓B serve b1 · -b1 swap A [B]",
    ),
]


@pytest.mark.parametrize(
    ("state", "transcript"),
    [trace[1:] for trace in OTHER_STATES],
    ids=[trace[0] for trace in OTHER_STATES],
)
def test_trace_from_another_state(state: ProcessState, transcript: str) -> None:
    stage(make(), {"A": state}).play(transcript)


def test_p06_a_priority_by_alias_is_the_models(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "routing: {scheduler: {settings: {fifo: {priority: {short: 7}}}}}\n"
        "models: {A: {cmd: x, proxy: 'http://h:1', aliases: [short]}}\n"
    )
    assert rules_for(load_config(path, None, environ={}).config)["A"].priority == 7


def test_a_late_result_of_an_ended_job_changes_nothing() -> None:
    scheduler = make()
    scheduler.handle(Arrived(TicketId(1), "A"), 0)
    scheduler.handle(Unload(("A",)), 0)
    scheduler.handle(JobDone(JobId(1), ModelUnloaded("x")), 0)
    [_, start, _] = scheduler.handle(Arrived(TicketId(2), "A"), 0)
    assert start == StartJob(JobId(2), "A", ())
    assert scheduler.handle(JobDone(JobId(1)), 0) == []
    assert scheduler.handle(JobDone(JobId(2)), 0) == [Grant(TicketId(2))]


def test_refusals_carry_the_error_a_client_can_act_on() -> None:
    scheduler = make(limits={"A": 1})
    scheduler.handle(StateChanged("A", ProcessState.READY), 0)
    assert scheduler.handle(Arrived(TicketId(1), "A"), 0) == [
        Admit(TicketId(1)),
        Grant(TicketId(1)),
    ]
    errors = []
    for ticket, model in ((2, "A"), (3, "nobody")):
        [effect] = scheduler.handle(Arrived(TicketId(ticket), model), 0)
        assert isinstance(effect, Refuse)
        errors.append(type(effect.error))
    scheduler.handle(Shutdown(), 0)
    [effect] = scheduler.handle(Arrived(TicketId(4), "A"), 0)
    assert isinstance(effect, Refuse)
    assert [*errors, type(effect.error)] == [TooManyRequests, ModelUnknown, ShuttingDown]


def test_a_refused_request_holds_no_slot() -> None:
    scheduler = make(limits={"A": 1})
    for ticket in range(1, 4):
        scheduler.handle(Arrived(TicketId(ticket), "A"), 0)
    scheduler.handle(Released(TicketId(2)), 0)
    scheduler.handle(Released(TicketId(3)), 0)
    assert [type(e) for e in scheduler.handle(Arrived(TicketId(5), "A"), 0)] == [Refuse]


def test_the_next_wakeup_is_the_first_ttl_to_run_out() -> None:
    scheduler = make({"p": group("AB", **PAR)}, ttl={"A": 30, "B": 20})
    assert scheduler.next_wakeup() == float("inf")
    scheduler.handle(StateChanged("A", ProcessState.READY), 100)
    scheduler.handle(StateChanged("B", ProcessState.READY), 105)
    assert scheduler.next_wakeup() == pytest.approx(125, abs=0.01)
    wake = scheduler.next_wakeup()
    assert scheduler.handle(Tick(), wake) == [Stop(("B",), StopReason.TTL)]
    assert scheduler.next_wakeup() == pytest.approx(130, abs=0.01)


def test_a_removed_model_refuses_its_waiters_and_its_job_is_cancelled() -> None:
    scheduler = make()
    scheduler.handle(Arrived(TicketId(1), "A"), 0)
    scheduler.handle(Arrived(TicketId(2), "B"), 0)
    old, scheduler = scheduler, make(models="B")
    effects = scheduler.take_over(old, 0)
    refused = [e for e in effects if isinstance(e, Refuse)]
    assert [e.ticket for e in refused] == [TicketId(1)]
    assert isinstance(refused[0].error, ModelUnknown)
    effects = scheduler.handle(JobDone(JobId(1), ModelUnloaded("x")), 0)
    assert effects[0] == StartJob(JobId(2), "B", ())


def test_waiting_requests_are_decided_again_under_a_new_planner() -> None:
    scheduler = make()
    scheduler.handle(StateChanged("A", ProcessState.READY), 0)
    scheduler.handle(Arrived(TicketId(1), "A"), 0)
    scheduler.handle(Arrived(TicketId(2), "B"), 0)  # queued: A is busy
    effects = make({"p": group("AB", **PAR)}, models="AB").take_over(scheduler, 0)
    assert effects[0] == StartJob(JobId(1), "B", ())
