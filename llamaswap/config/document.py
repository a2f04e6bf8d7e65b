"""The tree between YAML text and typed values: scalars, lists and tables that know their place.

Trees are read, merged and expanded before anything is typed. A tree that comes out of the YAML
reader may hold one node in several places (aliases); nothing changes a node after it is built.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define, field

from llamaswap.config.problems import NOWHERE, KeyPath, Place

Value = str | int | float | bool | None


@define(eq=False, repr=False)
class Scalar:
    """One value. `text` is its source text: what a string key receives of ``1.10``."""

    value: Value
    text: str
    place: Place = NOWHERE
    style: str = ""
    """`"` for double-quoted, `plain` for unquoted, else empty."""

    @property
    def size(self) -> int:
        """A scalar is one node."""
        return 1

    @property
    def depth(self) -> int:
        """There is nothing below a scalar."""
        return 0


@define(eq=False, repr=False)
class Listing:
    """A YAML sequence."""

    items: list[Node] = field(factory=list)
    place: Place = NOWHERE
    size: int = 1
    """Nodes in it, itself included, every alias counted as what it stands for."""
    depth: int = 0
    """Levels below it."""


@define(eq=False, repr=False)
class Table:
    """A YAML mapping; keys are text, in the order of the document."""

    entries: dict[str, Node] = field(factory=dict)
    keys: dict[str, Place] = field(factory=dict)
    """Where each key stands."""
    place: Place = NOWHERE
    size: int = 1
    depth: int = 0

    def put(self, key: str, node: Node, place: Place) -> None:
        """Add or replace an entry."""
        self.entries[key] = node
        self.keys[key] = place


Node = Scalar | Listing | Table


def is_null(node: Node | None) -> bool:
    """Whether there is nothing: no node or a YAML null."""
    return node is None or (isinstance(node, Scalar) and node.value is None)


def kind(node: Node) -> str:
    """What a person calls `node`."""
    match node:
        case Table():
            return "a mapping"
        case Listing():
            return "a list"
        case _:
            return "a single value"


def get(node: Node | None, *path: str) -> Node | None:
    """What stands at `path` below `node`; None if nothing or null does."""
    for key in path:
        if not isinstance(node, Table):
            return None
        node = node.entries.get(key)
    return None if is_null(node) else node


def place_of(root: Node, path: KeyPath) -> Place:
    """Where `path` stands, or the nearest thing above it that stands somewhere."""
    node, place = root, NOWHERE
    for step in path:
        match node:
            case Table(entries=entries, keys=keys) if step in entries:
                assert isinstance(step, str)
                place, node = keys[step], entries[step]
            case Listing(items=items) if isinstance(step, int) and step < len(items):
                node = items[step]
                place = node.place
            case _:
                break
    return place


def scalars(node: Node, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Scalar]]:
    """Every scalar value in the tree with its path, in the order of the document."""
    match node:
        case Scalar():
            yield path, node
        case Listing(items=items):
            for index, item in enumerate(items):
                yield from scalars(item, (*path, index))
        case Table(entries=entries):
            for key, entry in entries.items():
                yield from scalars(entry, (*path, key))
