"""Several documents to one.

Source: config §1.5.
"""

from __future__ import annotations

from llamaswap.config.document import Listing, Node, Scalar, Table, is_null, kind
from llamaswap.config.env import MARK
from llamaswap.config.problems import KeyPath, Place, Problem

ENTITY_MAPS: frozenset[KeyPath] = frozenset(
    {
        ("models",),
        ("groups",),
        ("profiles",),
        ("selectors",),
        ("peers",),
        ("matrix",),
        ("routing", "router", "settings", "groups"),
        ("routing", "router", "settings", "matrix"),
    }
)
"""Mappings whose entries come whole, each from one file."""


def merge(tables: list[Table], problems: list[Problem]) -> Table:
    """One table of all `tables`, in their order; conflicts go to `problems`, the first one wins."""
    result = Table()
    for table in tables:
        result = _tables(result, table, (), problems)
    return result


def _tables(one: Table, other: Table, path: KeyPath, problems: list[Problem]) -> Table:
    result = Table(dict(one.entries), dict(one.keys), one.place)
    for key, node in other.entries.items():
        place = other.keys[key]
        mine = one.entries.get(key)
        if mine is None:
            result.put(key, node, place)
        elif path in ENTITY_MAPS:
            first = _name(one.keys[key])
            text = f"this is already in {first}; each entry comes from one file"
            problems.append(Problem("E-MERGE-DUP", text, (*path, key), place))
        elif is_null(mine):
            result.entries[key], result.keys[key] = node, place
        elif not is_null(node):
            first_place = one.keys[key]
            result.entries[key] = _pair(mine, first_place, node, place, (*path, key), problems)
    return result


def _pair(
    mine: Node,
    first: Place,
    node: Node,
    place: Place,
    path: KeyPath,
    problems: list[Problem],
) -> Node:
    if problems and (_is_unknown(mine) or _is_unknown(node)):
        return mine
    match mine, node:
        case Table(), Table():
            return _tables(mine, node, path, problems)
        case Listing(), Listing() if path not in ENTITY_MAPS:
            return Listing([*mine.items, *node.items], mine.place)
        case Scalar(), Scalar() if path not in ENTITY_MAPS:
            if mine.text != node.text or type(mine.value) is not type(node.value):
                text = f"this contradicts {_name(first)}, which gives another value"
                problems.append(Problem("E-MERGE-SCALAR", text, path, place))
            return mine
        case _:
            text = f"this is {kind(node)}, but {kind(mine)} in {_name(first)}"
            problems.append(Problem("E-MERGE-KIND", text, path, place))
            return mine


def _is_unknown(node: Node) -> bool:
    """Whether it is what a variable at fault left; that is reported already."""
    return isinstance(node, Scalar) and MARK in node.text


def _name(place: Place) -> str:
    return f"{place.file}:{place.line}" if place.line is not None else str(place.file)
