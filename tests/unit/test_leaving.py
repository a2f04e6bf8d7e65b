"""What models that left the configuration mean for the others. Source: lifecycle §1.11."""

from __future__ import annotations

import pytest

from llamaswap.config.schema import DEFAULT_GROUP, Group
from llamaswap.planning.groups import Groups
from llamaswap.planning.leaving import Leaving

TOGETHER = Groups({"all": Group(members=("a", "b", "gone"), swap=False)})
ALONE = Groups({DEFAULT_GROUP: Group(members=("a", "b", "gone"))})
NOW_TOGETHER = Groups({"all": Group(members=("a", "b", "new"), swap=False)})
NOW_ALONE = Groups({DEFAULT_GROUP: Group(members=("a", "b", "new"))})
NOW, BEFORE = ("a", "b", "new"), ("a", "b", "gone")


@pytest.mark.parametrize(
    ("before", "now", "target", "running", "evicted"),
    [
        (TOGETHER, NOW_TOGETHER, "a", ("a", "gone"), ()),
        (TOGETHER, NOW_TOGETHER, "b", ("a", "gone"), ()),
        (TOGETHER, NOW_ALONE, "a", ("a", "gone"), ()),
        (TOGETHER, NOW_ALONE, "b", ("a", "gone"), ("a",)),
        (ALONE, NOW_TOGETHER, "a", ("b", "gone"), ("gone",)),
        (ALONE, NOW_TOGETHER, "new", ("b", "gone"), ("gone",)),
        (TOGETHER, NOW_TOGETHER, "new", ("b", "gone"), ("gone",)),
        (ALONE, NOW_ALONE, "b", ("a", "gone"), ("a", "gone")),
        (ALONE, NOW_ALONE, "b", ("a", "new"), ("a", "new")),
    ],
)
def test_the_configuration_that_knew_them_decides(
    before: Groups, now: Groups, target: str, running: tuple[str, ...], evicted: tuple[str, ...]
) -> None:
    assert Leaving(now, NOW, before, BEFORE).evict(target, running) == evicted


def test_it_may_be_asked_again_after_the_next_reload() -> None:
    """`gone` left two configurations ago, `new` one."""
    middle = Leaving(NOW_TOGETHER, NOW, TOGETHER, BEFORE)
    last = Leaving(Groups({}), ("b",), middle, NOW)
    assert last.evict("b", ("b", "gone", "new")) == ()
    assert Leaving(Groups({}), ("x",), last, ("b",)).evict("x", ("gone", "new")) == ("gone", "new")


def test_what_may_run_together_is_the_new_configurations_to_say() -> None:
    assert not Leaving(NOW_ALONE, NOW, TOGETHER, BEFORE).may_run_together(("a", "b"))
