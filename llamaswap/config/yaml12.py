"""YAML text to a tree: our dialect on top of the YAML library's event stream.

Built from events, not from the library's own nodes: that allows lists of any depth, redefined
anchors and line numbers, and lets the text after the first document alone. Only this module
imports the YAML library for reading.

Source: config §2.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from attrs import define, field, frozen

from llamaswap.config.document import Listing, Node, Scalar, Table, Value
from llamaswap.config.problems import NOWHERE, ConfigInvalid, Place, Problem
from llamaswap.config.scalars import resolve

# The C parser takes tabs after ":" and before comments, as operators are used to; the Python one
# refuses them, so it is only the second choice.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MAX_NODES = 1_000_000
MAX_DEPTH = 100  # real files have 10; who walks a tree may recurse this deep
_CORE_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "null": (type(None),),
}


@frozen
class Document:
    """The first document of one file."""

    root: Node | None
    """None: the file is empty or holds only comments."""
    has_more: bool
    """Whether anything follows the first document; it is not read."""
    anchored: frozenset[str]
    """Top-level keys in whose value an anchor is defined."""
    duplicates: tuple[Problem, ...] = ()
    """Keys that stand twice in one mapping, each an error; the last of them is in the tree."""


def read_document(text: str, file: str) -> Document:
    """Read the first document of `text`; `file` is the name problems are reported under.

    Raises:
        ConfigInvalid: E-FILE-YAML.
    """
    builder = _Builder(file)
    events = _events(text, file)
    for event in events:
        if isinstance(event, yaml.DocumentEndEvent):
            break
        builder.take(event)
    more = _has_more(events)
    anchored = frozenset(builder.anchored)
    return Document(builder.root, more, anchored, tuple(builder.duplicates))


def texts(text: str, file: str) -> Iterator[str]:
    """The content of every scalar of the first document, keys included, without comments.

    Raises:
        ConfigInvalid: the text is no YAML.
    """
    for event in _events(text, file):
        if isinstance(event, yaml.DocumentEndEvent):
            return
        if isinstance(event, yaml.ScalarEvent):
            yield event.value


def _events(text: str, file: str) -> Iterator[yaml.Event]:
    try:
        loader = _Loader(text)
        try:
            while (event := loader.get_event()) is not None:
                yield event
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else mark.line + 1
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        raise _refused(Place(file, line), reason) from error
    except yaml.YAMLError as error:  # a character that YAML does not allow
        reason = str(getattr(error, "reason", error))
        raise _refused(Place(file, _line_of(text, error)), reason) from error
    except UnicodeEncodeError as error:
        reason = f"the character {error.object[error.start]!a} is not allowed"
        line = text.count("\n", 0, error.start) + 1
        raise _refused(Place(file, line), reason) from error


def _line_of(text: str, error: yaml.YAMLError) -> int | None:
    """The line of a ReaderError; the C parser counts bytes, the Python one characters."""
    position = getattr(error, "position", None)
    if not isinstance(position, int):
        return None
    if _Loader is yaml.SafeLoader:
        return text.count("\n", 0, position) + 1
    return text.encode("utf-8", "surrogatepass").count(b"\n", 0, position) + 1


def _has_more(events: Iterator[yaml.Event]) -> bool:
    try:
        return not isinstance(next(events, None), yaml.StreamEndEvent | None)
    except ConfigInvalid:
        return True  # there is something, if only an error


def _refused(place: Place, text: str) -> ConfigInvalid:
    return ConfigInvalid((Problem("E-FILE-YAML", f"this is not valid YAML: {text}", (), place),))


@define
class _Open:
    """A list or mapping whose end has not been read."""

    node: Listing | Table
    anchor: str | None
    key: str | None = None
    """The key that waits for its value."""
    key_place: Place = NOWHERE
    is_merge: bool = False
    """Whether that key is `<<`."""
    merges: list[tuple[int, list[Table]]] = field(factory=list)
    """Number of own entries before each `<<`, and what it merges."""
    merge_place: Place | None = None


@define
class _Builder:
    """Told one event after the other; a stack of open nodes, so that depth costs no recursion."""

    file: str
    root: Node | None = None
    duplicates: list[Problem] = field(factory=list)
    anchored: set[str] = field(factory=set)
    _open: list[_Open] = field(factory=list)
    _anchors: dict[str, Node] = field(factory=dict)

    def take(self, event: yaml.Event) -> None:
        match event:
            case yaml.ScalarEvent():
                self._scalar(event)
            case yaml.MappingStartEvent():
                self._begin(event, Table(place=self._place(event)))
            case yaml.SequenceStartEvent():
                self._begin(event, Listing(place=self._place(event)))
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._end()
            case yaml.AliasEvent():
                self._alias(event)
            case _:
                pass  # the frame around the document

    def _place(self, event: yaml.Event) -> Place:
        assert event.start_mark is not None
        return Place(self.file, event.start_mark.line + 1)

    def _wants_key(self) -> bool:
        if not self._open:
            return False
        top = self._open[-1]
        return isinstance(top.node, Table) and top.key is None

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        place = self._place(event)
        if self._wants_key():
            is_merge = event.value == "<<" and event.implicit[0] and event.tag is None
            self._key(event.value, place, is_merge=is_merge)
            if event.anchor is not None:
                self._define(event.anchor, Scalar(event.value, event.value, place))
            return
        plain = bool(event.implicit[0])
        style = "plain" if plain else ('"' if event.style == '"' else "")
        node = Scalar(self._value(event, place), event.value, place, style)
        if event.anchor is not None:
            self._define(event.anchor, node)
        self._add(node)

    def _value(self, event: yaml.ScalarEvent, place: Place) -> Value:
        if event.implicit[0]:
            return resolve(event.value)
        if event.tag is None or event.implicit[1]:
            return event.value
        core = event.tag.removeprefix("tag:yaml.org,2002:")
        if core == event.tag or core not in _CORE_TYPES:
            return event.value  # an unknown tag makes no difference
        value = resolve(event.value)
        if type(value) not in _CORE_TYPES[core]:
            raise _refused(place, f"{event.value!r} is no !!{core}")
        return float(value) if core == "float" and value is not None else value

    def _key(self, key: str, place: Place, *, is_merge: bool = False) -> None:
        top = self._open[-1]
        assert isinstance(top.node, Table)
        first = top.merge_place if is_merge else top.node.keys.get(key)
        if first is not None:
            lines = f"lines {first.line} and {place.line}"
            text = f"the key '{key}' stands twice in one mapping, in {lines}; remove one"
            self.duplicates.append(Problem("E-YAML-DUPKEY", text, (*self._path(), key), place))
        top.key, top.key_place, top.is_merge = key, place, is_merge
        if is_merge:
            top.merge_place = place
        else:
            top.node.keys[key] = place

    def _path(self) -> tuple[str, ...]:
        return tuple(level.key for level in self._open if level.key is not None)

    def _define(self, anchor: str, node: Node) -> None:
        self._anchors[anchor] = node
        self._note_anchor()

    def _note_anchor(self) -> None:
        if self._open and self._open[0].key is not None:
            self.anchored.add(self._open[0].key)

    def _begin(self, event: yaml.CollectionStartEvent, node: Listing | Table) -> None:
        if self._wants_key():
            raise _refused(node.place, "a list or a mapping cannot be a key")
        if event.anchor is not None:
            self._anchors.pop(event.anchor, None)  # until its end is read it cannot be used
            self._note_anchor()
        self._open.append(_Open(node, event.anchor))
        self._check_depth(len(self._open), node.place)

    def _check_depth(self, depth: int, place: Place) -> None:
        if depth > MAX_DEPTH:
            raise _refused(place, f"more than {MAX_DEPTH} levels inside one another")

    def _end(self) -> None:
        top = self._open.pop()
        if isinstance(top.node, Table) and top.merges:
            top.node = _merged(top.node, top.merges)
        if top.anchor is not None:
            self._anchors[top.anchor] = top.node
        self._add(top.node)

    def _alias(self, event: yaml.AliasEvent) -> None:
        node = self._anchors.get(event.anchor or "")
        if node is None:
            raise _refused(self._place(event), f"there is no anchor '&{event.anchor}' before this")
        if not self._wants_key():
            self._add(node)
        elif isinstance(node, Scalar):
            self._key(node.text, self._place(event))
        else:
            raise _refused(self._place(event), "a list or a mapping cannot be a key")

    def _add(self, node: Node) -> None:
        if not self._open:
            self.root = node
            return
        top = self._open[-1]
        if top.node.size + node.size > MAX_NODES:
            raise _refused(node.place, f"more than {MAX_NODES:,} nodes once aliases are expanded")
        top.node.size += node.size
        top.node.depth = max(top.node.depth, node.depth + 1)
        self._check_depth(top.node.depth, node.place)  # aliases can stack what was read flat
        if isinstance(top.node, Listing):
            top.node.items.append(node)
            return
        assert top.key is not None
        if top.is_merge:
            top.merges.append((len(top.node.entries), _mergeable(node, top.key_place)))
        else:
            top.node.entries[top.key] = node
        top.key = None


def _mergeable(node: Node, place: Place) -> list[Table]:
    sources = node.items if isinstance(node, Listing) else [node]
    tables = [source for source in sources if isinstance(source, Table)]
    if len(tables) != len(sources):
        raise _refused(place, "'<<' takes a mapping or a list of mappings")
    return tables


def _merged(table: Table, merges: list[tuple[int, list[Table]]]) -> Table:
    """`table` with each `<<` replaced, where it stands, by the keys the table has not itself."""
    result = Table(place=table.place, size=table.size, depth=table.depth)
    own = list(table.entries)
    done = 0
    for before, sources in [*merges, (len(own), [])]:
        for key in own[done:before]:
            result.put(key, table.entries[key], table.keys[key])
        done = before
        for source in sources:
            for key, node in source.entries.items():
                if key not in table.entries and key not in result.entries:
                    result.put(key, node, source.keys[key])
    return result
