"""Where a model stands in the routing: its group, or the sets of the matrix that name it.

For display. Source: web-ui §0.1, config parts 5 and 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llamaswap.config.matrix_dsl import Name, Reference, definition_order, parse_sets, walk
from llamaswap.config.schema import Matrix, Routing


def placements(routing: Routing) -> Mapping[str, Mapping[str, Any]]:
    """By model id: `{"group": str}` or `{"sets": [str]}`; absent for a model in no set."""
    if routing.matrix is not None:
        return _in_sets(routing.matrix)
    return {
        member: {"group": name}
        for name, group in routing.groups.items()
        for member in group.members
    }


def _in_sets(matrix: Matrix) -> dict[str, Mapping[str, Any]]:
    trees, _problems = parse_sets(matrix.sets)
    named: dict[str, set[str]] = {}
    for set_name in definition_order(trees):  # after the sets it refers to
        models: set[str] = set()
        for node in walk(trees[set_name]):
            match node:
                case Name(name):
                    models.add(matrix.vars.get(name, name))
                case Reference(name):
                    models |= named.get(name, set())
                case _:
                    pass  # its parts come by themselves
        named[set_name] = models
    every = sorted(set().union(*named.values()))
    return {
        model: {"sets": [name for name in matrix.sets if model in named.get(name, ())]}
        for model in every
    }
