"""`batch` against `fifo` on seeds that were held back from tuning. Source: scheduling §4.

`make scheduling-report` writes the same figures into docs/scheduling.md.
"""

from __future__ import annotations

import math
from functools import cache

import pytest

from llamaswap.commands.scenarios import REPORT_SEEDS, SCENARIOS, TUNING_SEEDS, setting
from llamaswap.commands.simulate import Run, scenario_run
from llamaswap.planning.simulator import History

SEEDS = REPORT_SEEDS
CASES = [(name, seed) for name in SCENARIOS for seed in SEEDS]


@cache
def played(name: str, seed: int, kind: str) -> Run:
    return scenario_run(name, seed, kind)


def ratio(name: str) -> float:
    """Mean wait of batch over that of fifo, over the seeds."""
    logs = [
        math.log(
            played(name, seed, "batch").figures.all.mean
            / played(name, seed, "fifo").figures.all.mean
        )
        for seed in SEEDS
    ]
    return math.exp(sum(logs) / len(logs))


def test_no_seed_was_used_for_tuning_and_reporting() -> None:
    assert not set(TUNING_SEEDS) & set(REPORT_SEEDS)
    assert len(REPORT_SEEDS) == len(TUNING_SEEDS) == 5


def test_over_all_scenarios_the_mean_wait_is_at_most_nine_tenths_of_fifos() -> None:
    logs = [math.log(ratio(name)) for name in SCENARIOS]
    assert math.exp(sum(logs) / len(logs)) <= 0.90


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_scenario_gets_much_worse(name: str) -> None:
    assert ratio(name) <= 1.15


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_no_wait_is_longer_than_promised(name: str, seed: int) -> None:
    assert played(name, seed, "batch").promise.kept, played(name, seed, "batch").promise


@pytest.mark.parametrize("seed", SEEDS)
def test_two_agents_get_two_and_a_half_times_the_requests_done(seed: int) -> None:
    done = [played("two-agents", seed, kind).figures.done for kind in ("fifo", "batch")]
    assert done[1] >= 2.5 * done[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_chat_behind_images_waits_at_most_a_third_as_long(seed: int) -> None:
    worst = [
        played("images-and-a-chat", seed, kind).figures.models["chat"].worst
        for kind in ("fifo", "batch")
    ]
    assert worst[1] <= 0.35 * worst[0]


@pytest.mark.parametrize("kind", ["fifo", "batch"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_single_model_is_never_swapped(seed: int, kind: str) -> None:
    assert played("single-model", seed, kind).figures.swaps == 1


@pytest.mark.parametrize("kind", ["fifo", "batch"])
@pytest.mark.parametrize(("name", "seed"), CASES)
def test_nobody_is_loaded_for_nothing(name: str, seed: int, kind: str) -> None:
    """No livelock: between two loads a request was finished, unless its client left."""
    if name != "cancelled-bursts":
        assert empty_stays(played(name, seed, kind).history) == 0


def empty_stays(history: History) -> int:
    worked = [(s.call.model, s.began) for s in history.served if s.began is not None]
    return sum(
        not any(
            model == stay.model and stay.ready <= began <= stay.ended for model, began in worked
        )
        for stay in history.stays
    )


@pytest.mark.parametrize("kind", ["fifo", "batch"])
def test_everybody_admitted_gets_an_outcome(kind: str) -> None:
    for name, seed in CASES:
        run = played(name, seed, kind)
        assert all(served.outcome != "waiting" for served in run.history.served)


def test_a_scenario_is_a_function_of_its_seed() -> None:
    assert setting("three-chats", 6).calls == setting("three-chats", 6).calls
    assert setting("three-chats", 6).calls != setting("three-chats", 7).calls
    again = scenario_run("three-chats", 6, "batch")
    assert again.figures == played("three-chats", 6, "batch").figures
