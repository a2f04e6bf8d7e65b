"""Every order of a small life, exhaustively. Source: scheduling §4.

Bounded here; `make interleavings` goes through all pairs of disturbances and takes minutes.
"""

from __future__ import annotations

import sys

import pytest

from llamaswap.planning.batch import Batch
from llamaswap.planning.bookkeeping import Bookkeeping
from llamaswap.planning.planner import Planner
from tests.property.interleavings import Life, Wrong, explore, lives

SLOW = ("unload", "reload")
"""Under `batch` played with one planner here; with two models both decide alike."""


def bounded() -> list[Life]:
    return [
        life
        for life in lives(1)
        if life.scheduler is not Batch
        or life.planner == "matrix"
        or life.disturbances[0] not in SLOW
    ]


@pytest.mark.timeout(600)
def test_no_order_of_events_wedges_loses_or_starts_twice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines: list[str] = []
    total = explore(bounded(), lines.append)
    with capsys.disabled():
        sys.stdout.write(f"\n{lines[-1]}\n")
    assert total > 40_000


def test_a_scheduler_that_forgets_somebody_would_be_caught() -> None:
    class Forgetful(Batch):
        def _served(self, request: object, idle: bool) -> None:
            """Let nobody in when a model falls idle."""

    class Broken(Life):
        def fresh(self, planner: Planner) -> Bookkeeping:
            return Forgetful(rules=super().fresh(planner).rules, planner=planner, max_wait=0.0)

    with pytest.raises(Wrong, match="wait for ever"):
        explore([Broken(Batch, "groups", ())], lambda line: None)
