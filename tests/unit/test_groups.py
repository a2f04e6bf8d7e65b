"""Swap planner `group`. Source: lifecycle §3.1, trace G16."""

import pytest

from llamaswap.config.schema import DEFAULT_GROUP, Group
from llamaswap.planning.groups import Groups

PLANNER = Groups(
    {
        "sx": Group(members=("a1", "a2")),
        "nn": Group(members=("b1", "b2"), swap=False, exclusive=False),
        "pp": Group(members=("p1", "p2"), swap=False, persistent=True),
        DEFAULT_GROUP: Group(members=("d1",)),
    }
)
ALL = ("a1", "a2", "b1", "b2", "d1", "p1", "p2")


@pytest.mark.parametrize(
    ("target", "evicted"),
    [
        ("a1", "a2 b1 b2 d1"),
        ("b1", ""),
        ("p1", "a1 a2 b1 b2 d1"),
        ("d1", "a1 a2 b1 b2"),
    ],
)
def test_g16_whom_a_start_pushes_out(target: str, evicted: str) -> None:
    assert PLANNER.evict(target, ALL) == tuple(evicted.split())


def test_a_model_that_left_the_configuration_counts_as_one_in_no_group() -> None:
    assert PLANNER.evict("d1", ("gone",)) == ("gone",)
    assert PLANNER.evict("b1", ("gone",)) == ()


@pytest.mark.parametrize(
    ("models", "together"),
    [(("b1", "b2"), True), (("a1", "a2"), False), (("b1", "p1"), False), (("a1",), True)],
)
def test_only_members_of_one_group_without_swap_may_run_together(
    models: tuple[str, ...], together: bool
) -> None:
    assert PLANNER.may_run_together(models) is together
