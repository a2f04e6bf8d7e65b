"""Where a model stands in the routing, for those who look at it. Source: web-ui §0.1."""

from __future__ import annotations

from llamaswap.config.placement import placements
from llamaswap.config.schema import DEFAULT_GROUP, Group, Matrix, Routing


def test_every_model_of_a_group_is_told_its_name() -> None:
    groups = {"small": Group(members=("a", "b")), DEFAULT_GROUP: Group(members=("c",))}
    found = placements(Routing(groups=groups))
    assert found == {"a": {"group": "small"}, "b": {"group": "small"}, "c": {"group": "(default)"}}


def test_a_model_is_in_every_set_that_names_it_also_by_var_and_by_reference() -> None:
    sets = {"wide": "x & +pair", "pair": "a | b", "alone": "c"}
    found = placements(Routing(router="matrix", matrix=Matrix(sets=sets, vars={"x": "org/big"})))
    assert found == {
        "a": {"sets": ["wide", "pair"]},
        "b": {"sets": ["wide", "pair"]},
        "c": {"sets": ["alone"]},
        "org/big": {"sets": ["wide"]},
    }
