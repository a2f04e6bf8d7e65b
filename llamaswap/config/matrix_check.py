"""Whether models can run together according to a matrix, without expanding its sets.

Source: config §2.8, §6.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from llamaswap.config.matrix_dsl import (
    AllOf,
    Name,
    Node,
    OneOf,
    Reference,
    definition_order,
    parse_sets,
)

_Covers = frozenset[frozenset[str]]


def one_set_holds(
    models: Iterable[str], sets: Mapping[str, str], variables: Mapping[str, str]
) -> bool:
    """Whether one expanded set contains all of `models`. The sets must be free of problems."""
    wanted = frozenset(models)
    trees, _problems = parse_sets(sets)
    known: dict[str, _Covers] = {}
    for name in definition_order(trees):
        known[name] = _covers(trees[name], wanted, variables, known)
        if wanted in known[name]:
            return True
    return False


def _covers(
    node: Node, wanted: frozenset[str], variables: Mapping[str, str], known: dict[str, _Covers]
) -> _Covers:
    """The largest parts of `wanted` that single sets of `node` contain."""
    match node:
        case Name(name):
            return frozenset({wanted & {variables.get(name, name)}})
        case Reference(name):
            return known[name]
        case OneOf(parts):
            found = (_covers(part, wanted, variables, known) for part in parts)
            return _maximal(cover for covers in found for cover in covers)
        case AllOf(parts):
            product: _Covers = frozenset({frozenset()})
            for part in parts:
                covers = _covers(part, wanted, variables, known)
                product = _maximal(one | other for one in product for other in covers)
            return product


def _maximal(covers: Iterable[frozenset[str]]) -> _Covers:
    distinct = set(covers)
    return frozenset(cover for cover in distinct if not any(cover < other for other in distinct))
