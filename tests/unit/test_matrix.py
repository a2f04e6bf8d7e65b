"""Swap planner `matrix`, trace by trace. Source: lifecycle §3.2, §5.6."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamaswap.config.schema import Matrix as Settings
from llamaswap.planning.events import ProcessState
from llamaswap.planning.fifo import Fifo
from llamaswap.planning.matrix import Matrix
from llamaswap.planning.scheduler import ModelRules
from tests.unit.transcripts import stage

STD = {"std": "(g | q) & v", "full": "L"}
STD_COSTS = {"v": 50, "L": 30}
NESTED = {"llms": "g | q | m", "tts": "+llms & v", "mega": "+tts & e"}

# trace, sets, costs, target, running, evicted, set, cost
QUERIES: list[tuple[str, dict[str, str], dict[str, int], str, str, str, str, int]] = [
    ("M01", STD, STD_COSTS, "g", "", "", "std", 0),
    ("M01", STD, STD_COSTS, "g", "v", "", "std", 0),
    ("M01", STD, STD_COSTS, "q", "g v", "g", "std", 1),
    ("M01", STD, STD_COSTS, "L", "g v", "g v", "full", 51),
    ("M01", STD, STD_COSTS, "v", "L", "L", "std", 30),
    ("M02", STD, STD_COSTS, "o", "g v", "g v", "", 0),
    ("M02", STD, STD_COSTS, "g", "o v", "o", "std", 1),
    ("M02", STD, STD_COSTS, "g", "g o", "", "std", 0),
    ("M03", {"s1": "a & c", "s2": "a & b"}, {"b": 10}, "a", "b c", "c", "s2", 1),
    ("M03", {"s1": "a & c", "s2": "a & b"}, {"b": 10}, "a", "c", "", "s1", 0),
    ("M03", {"s1": "a & c", "s2": "a & b"}, {"b": 10}, "a", "", "", "s1", 0),
    ("M04", {"s": "t & (b | a)"}, {}, "t", "a b", "a", "s", 1),
    ("M04", {"s": "t & (a | b)"}, {}, "t", "a b", "b", "s", 1),
    ("M05", {"s": "t & (a | c | (a & b))"}, {}, "t", "a b c", "c", "s", 1),
    ("M05", {"s": "t & (a | c | (a & b))"}, {}, "t", "a c", "c", "s", 1),
    ("M06", NESTED, {}, "e", "g v", "", "mega", 0),
    ("M06", NESTED, {}, "g", "v", "", "tts", 0),
    ("M06", NESTED, {}, "g", "e q v", "q", "mega", 1),
    ("M14", {"zeta": "T & p", "mid": "T & q", "alpha": "T & r"}, {}, "T", "", "", "zeta", 0),
    ("M15", {"a1": "+z9 & T", "b1": "T & q", "z9": "p"}, {}, "T", "p q", "q", "a1", 1),
]


def matrix(sets: Mapping[str, str], costs: Mapping[str, int] | None = None) -> Matrix:
    return Matrix(Settings(sets=sets, evict_costs=costs or {}))


@pytest.mark.parametrize(
    ("sets", "costs", "target", "running", "evicted", "set_name", "cost"),
    [query[1:] for query in QUERIES],
    ids=[f"{query[0]}-{query[3]}-{query[4]}" for query in QUERIES],
)
def test_the_cheapest_set_wins_and_the_first_among_equals(
    sets: dict[str, str],
    costs: dict[str, int],
    target: str,
    running: str,
    evicted: str,
    set_name: str,
    cost: int,
) -> None:
    planner = matrix(sets, costs)
    present = running.split()
    solution = planner.solve(target, present)
    assert solution.evict == tuple(evicted.split())
    assert (solution.set_name, solution.cost) == (set_name, cost)
    assert planner.evict(target, present) == solution.evict


def test_m01_the_set_is_named_with_all_its_members() -> None:
    assert matrix(STD).solve("g", []).members == ("g", "v")
    assert matrix(STD).solve("g", []).expression == "(g | q) & v"
    assert matrix(STD).solve("o", ["g"]).members == ("o",)


def test_m16_a_million_sets_are_not_written_out() -> None:
    groups = [[f"g{group}-{n}" for n in range(10)] for group in range(6)]
    text = " & ".join(["t", *(f"({' | '.join(group)})" for group in groups)])
    planner = matrix({"s": text})
    running = sorted([*(group[7] for group in groups), "outside"])
    solution = planner.solve("t", running)
    assert solution.evict == ("outside",)
    assert len(solution.members) == 7


def test_m17_more_models_than_a_machine_word_has_bits() -> None:
    names = [f"m{n}" for n in range(70)]
    running = sorted([*names[1:], "outside"])
    assert matrix({"s": " & ".join(names)}).evict("m0", running) == ("outside",)


# trace, sets, ready at start, transcript: models are letters as elsewhere
SCHEDULED: list[tuple[str, dict[str, str], str, str]] = [
    ("M07", {"s": "A & B"}, "", "+a1 swap A [] · +b1 swap B [] · ✓A serve a1 · ✓B serve b1"),
    (
        "M08",
        {"a": "A", "b": "B"},
        "",
        "+a1 swap A [] · +b1 pos b1 · ✓A serve a1 · -a1 swap B [A]",
    ),
    (
        "M09",
        {"one": "T & Y", "two": "T & X", "three": "Z"},
        "",
        "+x1 swap X [] · +t1 swap T [] · +z1 pos z1 · ✓X serve x1 · -x1 – · ✓T serve t1 "
        "· -t1 swap Z [T X]",
    ),
    (
        "M10",
        {"one": "T & A", "two": "T & B"},
        "AB",
        "+b1 serve b1 · +t1 pos t1 · -b1 swap T [B]",
    ),
    (
        "M11",
        {"s": "A & B"},
        "AB",
        "+o1 swap O [A B] · ✓O serve o1 · -o1 – · +a1 swap A [O]",
    ),
    (
        "M12",
        {"one": "R & X", "two": "R & E & S", "three": "E & X"},
        "EX",
        "+r1 swap R [E] · +s1 swap S [X] · ✓R serve r1 · ✓S serve s1",
    ),
    (
        "M13",
        {"s": "A & B", "c": "C"},
        "",
        "+a1 swap A [] · +b1 swap B [] · +c1 pos c1 · ✓A serve a1 · -a1 – · ✓B serve b1 "
        "· -b1 swap C [A B]",
    ),
]


@pytest.mark.parametrize(
    ("sets", "ready", "transcript"),
    [trace[1:] for trace in SCHEDULED],
    ids=[trace[0] for trace in SCHEDULED],
)
def test_trace(sets: dict[str, str], ready: str, transcript: str) -> None:
    rules = {model: ModelRules(limit=10) for model in "ABCDERSTOXYZ"}
    scheduler = Fifo(rules=rules, planner=matrix(sets))
    stage(scheduler, dict.fromkeys(ready, ProcessState.READY)).play(transcript)


def test_section_4_two_slots() -> None:
    """The last example of lifecycle §4."""
    rules = {model: ModelRules(limit=10) for model in "ABCD"}
    scheduler = Fifo(rules=rules, planner=matrix({"s": "(A | B) & (C | D)"}))
    stage(scheduler, {"A": ProcessState.READY, "C": ProcessState.READY}).play(
        "+b1 swap B [A] · +d1 pos d1 · +a1 pos d1 a1 · +c1 serve c1 · ✓B serve b1 "
        "· -c1 swap D [C], pos a1 · ✓D serve d1 · -b1 swap A [B] · ✓A serve a1"
    )


def test_vars_come_before_models_and_costs_are_the_models() -> None:
    planner = Matrix(
        Settings(sets={"s": "x & (b | c)"}, vars={"x": "org/a:1"}, evict_costs={"b": 5})
    )
    assert planner.evict("org/a:1", ["b", "c"]) == ("c",)
    assert planner.weight("b") == 5.0
    assert planner.weight("org/a:1") == 1.0


def test_the_legal_plans_are_all_that_could_be_best() -> None:
    planner = matrix({"s": "(a | b) & (c | d)", "t": "t & a", "u": "t & (b | c)"}, {"a": 3})
    assert planner.plans("t", ["a", "c"]) == (("c",), ("a",))
    assert planner.plans("a", ["b", "c"]) == (("b",),)
    assert planner.plans("a", ["a", "foreign"]) == ((),)
    assert planner.plans("nowhere", ["a"]) == (("a",),)


def test_a_decision_names_the_set_its_expression_and_the_cost() -> None:
    planner = matrix(STD, STD_COSTS)
    assert planner.explain("q", ["g", "v"], ("g",)) == "set std ((g | q) & v), cost 1"
    assert planner.explain("L", ["g", "v"], ("g", "v")) == "set full (L), cost 51"
    assert planner.explain("o", ["g"], ("g",)) == "o is in no set and runs alone"


@pytest.mark.parametrize(
    ("models", "together"),
    [("g v", True), ("g q", False), ("q v e", True), ("v", True), ("v nobody", False)],
)
def test_which_models_may_run_together(models: str, together: bool) -> None:
    assert matrix(NESTED).may_run_together(models.split()) is together


# --- against brute force --------------------------------------------------------------------------

NAMES = "abcdef"
EXPRESSIONS = st.recursive(
    st.sampled_from(NAMES),
    lambda inner: st.builds(
        lambda operator, parts: f"({operator.join(parts)})",
        st.sampled_from([" & ", " | "]),
        st.lists(inner, min_size=2, max_size=3),
    ),
    max_leaves=7,
)


def expand(text: str, sets: Mapping[str, str]) -> list[frozenset[str]]:
    """All sets that `text` stands for, written out by a second, naive reading."""
    parts = split(text, "|")
    if len(parts) > 1:
        return [found for part in parts for found in expand(part, sets)]
    parts = split(text, "&")
    if len(parts) > 1:
        choices = [expand(part, sets) for part in parts]
        return [frozenset().union(*chosen) for chosen in itertools.product(*choices)]
    text = text.strip()
    if text.startswith("("):
        return expand(text[1:-1], sets)
    if text.startswith("+"):
        return expand(sets[text[1:]], sets)
    return [frozenset({text})]


def split(text: str, operator: str) -> list[str]:
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == operator and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def cheapest(
    sets: Mapping[str, str], costs: Mapping[str, int], target: str, running: Sequence[str]
) -> int | None:
    found = [
        sum(costs.get(model, 1) for model in running if model not in choice)
        for text in sets.values()
        for choice in expand(text, sets)
        if target in choice
    ]
    return min(found, default=None)


@settings(max_examples=400, deadline=None)
@given(
    texts=st.lists(EXPRESSIONS, min_size=1, max_size=3),
    refers=st.booleans(),
    costs=st.dictionaries(st.sampled_from(NAMES), st.integers(1, 9)),
    target=st.sampled_from(NAMES),
    running=st.sets(st.sampled_from(NAMES + "xy")),
)
def test_i13_costs_what_writing_all_sets_out_would(
    texts: list[str], refers: bool, costs: dict[str, int], target: str, running: set[str]
) -> None:
    sets = {f"s{number}": text for number, text in enumerate(texts)}
    if refers:
        sets["more"] = f"+s0 & ({NAMES[0]} | {NAMES[1]})"
    present = sorted(running - {target})
    planner = matrix(sets, costs)
    evict = planner.evict(target, present)
    assert list(evict) == [model for model in present if model in evict]
    assert target not in evict
    assert planner.evict(target, present) == evict == matrix(sets, costs).evict(target, present)
    best = cheapest(sets, costs, target, present)
    if best is None:
        assert evict == tuple(present)
        return
    assert sum(costs.get(model, 1) for model in evict) == best
    every = [choice for text in sets.values() for choice in expand(text, sets)]
    for plan in planner.plans(target, present):
        stay = {target, *present} - set(plan)
        assert any(stay <= choice for choice in every)  # each plan is legal
    stay = {target, *present} - set(evict)
    assert planner.may_run_together(sorted(stay))
