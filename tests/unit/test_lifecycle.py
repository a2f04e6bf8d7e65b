"""The ring of state changes and what it tells about a model. Source: web-ui §0.1."""

from __future__ import annotations

from llamaswap.api.history import model_facts, transition_body
from llamaswap.config.schema import Model
from llamaswap.nursery.facts import UpstreamFacts
from llamaswap.telemetry.lifecycle import KEPT, Lifecycle, Transition


def a_load(book: Lifecycle, model: str, at: float, seconds: float) -> None:
    book.note(Transition(at, model, "starting"), "stopped")
    book.note(Transition(at + seconds, model, "ready"), "starting")


def test_the_usual_load_time_is_the_middle_of_the_last_five() -> None:
    book = Lifecycle()
    assert book.usual_load("m") is None
    for number, seconds in enumerate((100, 1, 2, 3, 4, 50)):
        a_load(book, "m", 1000.0 * number, seconds)
    assert book.usual_load("m") == 3


def test_a_failure_is_told_until_the_next_start() -> None:
    book = Lifecycle()
    book.note(Transition(1, "m", "starting"), "stopped")
    failed = Transition(2, "m", "stopped", "exited (1)", failed=True, exit_code=1)
    book.note(failed, "starting")
    assert book.failure("m") is failed
    assert book.since("m") == 2
    book.note(Transition(3, "m", "starting"), "stopped")
    assert book.failure("m") is None


def test_a_wanted_stop_is_no_failure() -> None:
    book = Lifecycle()
    a_load(book, "m", 1, 1)
    book.note(Transition(5, "m", "stopping", "ttl"), "ready")
    book.note(Transition(6, "m", "stopped", "ttl"), "stopping")
    assert book.failure("m") is None
    assert [change.state for change in book.latest(2)] == ["stopping", "stopped"]


def test_the_ring_is_bounded() -> None:
    book = Lifecycle()
    for number in range(KEPT + 10):
        book.note(Transition(number, "m", "starting"), "stopped")
    assert len(book.latest()) == KEPT
    assert book.latest(1)[0].time == KEPT + 9


def test_facts_that_are_not_known_are_absent() -> None:
    model = Model(id="m", cmd="x", ttl=60)
    assert model_facts(model, UpstreamFacts(), Lifecycle()) == {}
    book = Lifecycle()
    a_load(book, "m", 1000, 2.5)
    facts = model_facts(model, UpstreamFacts(pid=7, port=5800, idle=10.0), book)
    assert facts["pid"] == 7
    assert facts["load_ms_p50"] == 2500
    assert facts["since"] == "1970-01-01T00:16:42.500+00:00"
    assert facts["ttl_expires"] > facts["last_used"]


def test_a_change_as_json_leaves_out_what_is_empty() -> None:
    assert transition_body(Transition(0, "m", "ready")) == {
        "at": "1970-01-01T00:00:00.000+00:00",
        "model": "m",
        "state": "ready",
    }
