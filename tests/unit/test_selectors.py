"""Which target a selector means. Source: http-api §2.3."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Literal

import pytest

from llamaswap.config.schema import Selector
from llamaswap.planning.events import ProcessState
from llamaswap.proxy.selectors import NoTarget, Selectors

States = Callable[[str], ProcessState | None]
Strategy = Literal["warm", "pin", "spillover"]
ALIASES = {"alias": "a"}


def selector(strategy: Strategy, *targets: str, n: int = 1) -> Selector:
    return Selector(id="s", strategy=strategy, targets=targets, spillover=n)


def states(**known: str) -> States:
    """Models that are not named are stopped; peers have a slash and no state."""

    def state(model: str) -> ProcessState | None:
        return None if "/" in model else ProcessState(known.get(model, "stopped"))

    return state


def resolve(name: str) -> str:
    return ALIASES.get(name, name)


def choose(chooser: Selectors, chosen: Selector, state: States) -> str:
    return chooser.choose(chosen, resolve, state)


def test_pin_is_the_first_target_whatever_runs() -> None:
    assert choose(Selectors(), selector("pin", "a", "b"), states(b="ready")) == "a"


@pytest.mark.parametrize(
    ("known", "wanted"),
    [
        ({}, "alias"),
        ({"b": "starting"}, "b"),
        ({"b": "starting", "c": "ready"}, "c"),
        ({"b": "ready", "c": "ready"}, "b"),
        ({"a": "ready", "b": "ready"}, "alias"),
        ({"a": "stopping", "b": "stopped"}, "alias"),
    ],
)
def test_warm_prefers_what_is_ready_then_what_starts(known: dict[str, str], wanted: str) -> None:
    chosen = selector("warm", "alias", "b", "c")
    assert choose(Selectors(), chosen, states(**known)) == wanted


def run_through(chosen: Selector, state: States, count: int) -> list[str]:
    """Targets of overlapping requests."""
    chooser = Selectors()
    with ExitStack() as held:
        found = []
        for _ in range(count):
            target = choose(chooser, chosen, state)
            held.enter_context(chooser.reserve(chosen, resolve(target)))
            found.append(target)
    assert all(not chooser.held("s", resolve(target)) for target in chosen.targets)
    return found


def test_spillover_fills_one_target_before_it_starts_the_next() -> None:
    chosen = selector("spillover", "a", "b", n=2)
    assert run_through(chosen, states(), 6) == ["a", "a", "b", "b", "a", "b"]


def test_spillover_uses_what_runs_before_it_starts_anything() -> None:
    assert run_through(selector("spillover", "a", "b"), states(b="ready"), 1) == ["b"]


def test_spillover_takes_turns_between_equals() -> None:
    chooser, chosen = Selectors(), selector("spillover", "a", "b")
    both = states(a="ready", b="ready")
    assert [choose(chooser, chosen, both) for _ in range(4)] == ["a", "b", "a", "b"]


def test_spillover_when_all_are_full_takes_the_least_busy() -> None:
    chosen = selector("spillover", "a", "b")
    assert sorted(run_through(chosen, states(a="ready", b="ready"), 4)) == ["a", "a", "b", "b"]


def test_spillover_counts_peers_by_their_requests_only() -> None:
    assert run_through(selector("spillover", "p/m", "a"), states(), 3) == ["p/m", "a", "p/m"]


def test_a_target_on_its_way_out_is_of_no_use() -> None:
    chosen = selector("spillover", "alias", "b")
    assert choose(Selectors(), chosen, states(a="stopping")) == "b"
    with pytest.raises(NoTarget, match="no available spillover targets") as caught:
        choose(Selectors(), chosen, states(a="stopping", b="shutdown"))
    assert caught.value.status == 503


def test_a_target_that_is_stopped_but_asked_for_counts_as_active() -> None:
    chooser, chosen = Selectors(), selector("spillover", "a", "b", n=2)
    with chooser.reserve(chosen, "a"):
        assert choose(chooser, chosen, states()) == "a"


def test_a_reservation_ends_with_its_request_also_when_that_fails() -> None:
    chooser, chosen = Selectors(), selector("spillover", "a")

    def fail() -> None:
        with chooser.reserve(chosen, "a"):
            assert chooser.held("s", "a") == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert chooser.held("s", "a") == 0
