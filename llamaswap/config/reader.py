"""The document to typed sections: every problem of type in one go, each with its own path.

Source: config §2.2.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from functools import cache
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from attrs import fields, frozen, has

from llamaswap.config import kinds
from llamaswap.config.document import Listing, Node, Scalar, Table, is_null, kind
from llamaswap.config.kinds import BadValue
from llamaswap.config.model_sections import ModelSection
from llamaswap.config.problems import Findings, KeyPath
from llamaswap.config.sections import PerformanceSection, ProfileSection, RootSection

_READERS: dict[Any, Callable[[Node], Any]] = {
    kinds.Text: kinds.read_text,
    kinds.Whole: kinds.read_whole,
    kinds.Number: kinds.read_number,
    kinds.Flag: kinds.read_flag,
    kinds.Duration: kinds.read_duration,
    kinds.Anything: kinds.read_anything,
}
_OTHER_SHAPES: dict[Any, tuple[str, str]] = {
    ProfileSection: (
        "E-PROF-SHAPE",
        (
            "a profile is a mapping with pins; the old list form (name to list of models, "
            "requested as profile:model) is gone"
        ),
    ),
}
"""Code and text of a section that is no mapping, where it is not simply E-TYPE."""
_NOT_KEYS: dict[tuple[Any, str], str] = {
    (ModelSection, "healthCheckTimeout"): "a model cannot set this; the global value applies",
    (PerformanceSection, "enable"): "there is no such key; 'disabled: true' switches it off",
}


@frozen
class Key:
    """One key of a section, as the reader and the schema for editors need it."""

    attribute: str
    key: str
    kind: Any
    """A kind, a section class, or list/dict of one; without `| None`."""
    meta: dict[str, Any]


@cache
def keys_of(section: Any) -> dict[str, Key]:
    """The keys of `section` by their name in the file."""
    hints = get_type_hints(section)
    found = (
        Key(item.name, item.metadata["key"], _without_none(hints[item.name]), dict(item.metadata))
        for item in fields(section)
    )
    return {key.key: key for key in found}


def read(
    root: Table, anchored: frozenset[str], findings: Findings, *, secret: Callable[[KeyPath], bool]
) -> RootSection:
    """The configuration as written; what has the wrong type is as if it were not written.

    `anchored`: top-level keys that hold shared snippets, so nobody warns about them.
    `secret`: paths whose values no message may show.
    """
    entries = {key: node for key, node in root.entries.items() if not _is_private(key, anchored)}
    reader = _Reader(findings, secret)
    result: RootSection = reader.section(Table(entries, root.keys, root.place), RootSection, ())
    return result


def _is_private(key: str, anchored: frozenset[str]) -> bool:
    return key not in keys_of(RootSection) and (key in anchored or key.startswith(("x-", ".", "_")))


def _without_none(hint: Any) -> Any:
    arguments = get_args(hint)
    if NoneType in arguments:
        (hint,) = (argument for argument in arguments if argument is not NoneType)
    return hint


_UNREADABLE: Any = object()
"""In place of a single value that has the wrong type or is spoiled."""
_ZERO: dict[Any, Any] = {kinds.Text: "", kinds.Flag: False, kinds.Anything: None}


@frozen
class _Reader:
    """Reads what is right and notes what is not, each with its path."""

    findings: Findings
    secret: Callable[[KeyPath], bool]

    def value(self, node: Node, wanted: Any, path: KeyPath) -> Any:
        if has(wanted):
            return self.section(node, wanted, path)
        if get_origin(wanted) is dict:
            return self.mapping(node, get_args(wanted)[1], path)
        if get_origin(wanted) is list:
            return self.listing(node, get_args(wanted)[0], path)
        return self.scalar(node, wanted, path)

    def section(self, node: Node, cls: Any, path: KeyPath) -> Any:
        if not isinstance(node, Table):
            if not is_null(node):
                code, text = _OTHER_SHAPES.get(cls, ("E-TYPE", "a mapping"))
                self._refuse(BadValue(text, node, code=code), path)
            return cls()
        keys = keys_of(cls)
        values = {}
        for name, entry in node.entries.items():
            key = keys.get(name)
            if key is None:
                self._unknown(cls, name, path)
            elif not is_null(entry) or get_origin(key.kind) is list:
                here = (*path, name)
                if "shape" in key.meta and not isinstance(entry, Table):
                    self._refuse(BadValue("a mapping", entry, code=key.meta["shape"]), here)
                    continue
                value = self.value(entry, key.kind, here)
                if value is not _UNREADABLE:
                    values[key.attribute] = value
        return cls(**values)

    def mapping(self, node: Node, wanted: Any, path: KeyPath) -> dict[str, Any]:
        if not isinstance(node, Table):
            if not is_null(node):
                self._refuse(BadValue("a mapping", node), path)
            return {}
        result = {}
        for key, entry in node.entries.items():
            value = self.value(entry, wanted, (*path, key))
            # the key stays: others may refer to it
            result[key] = _ZERO.get(wanted, 0) if value is _UNREADABLE else value
        return result

    def listing(self, node: Node, wanted: Any, path: KeyPath) -> list[Any]:
        if not isinstance(node, Listing):
            if not is_null(node):
                self._refuse(BadValue("a list", node), path)
            return []
        values = {
            index: value
            for index, item in enumerate(node.items)
            if not is_null(item)
            and (value := self.value(item, wanted, (*path, index))) is not _UNREADABLE
        }
        if len(values) < len(node.items):
            self.findings.keep_items(path, list(values))
        return list(values.values())

    def scalar(self, node: Node, wanted: Any, path: KeyPath) -> Any:
        if self.findings.is_spoiled(path):
            return _UNREADABLE
        try:
            result = _READERS[wanted](node)
        except BadValue as problem:
            self._refuse(problem, (*path, *problem.at))
            return _UNREADABLE
        if wanted is kinds.Whole and isinstance(node, Scalar) and node.value != result:
            self._cut(node, result, path)
        return result

    def _cut(self, node: Scalar, result: int, path: KeyPath) -> None:
        if isinstance(node.value, float) and not math.isnan(node.value):
            text = f"only whole numbers count here: {node.text} is read as {result}"
            self.findings.warn("W-FRACTION", path, text)

    def _refuse(self, problem: BadValue, path: KeyPath) -> None:
        text = problem.text
        if problem.code != "E-PROF-SHAPE":
            found = kind(problem.node) if self.secret(path) else kinds.shown(problem.node)
            text = f"this must be {text}, not {found}"
        self.findings.error(problem.code, path, text)

    def _unknown(self, section: type, key: str, path: KeyPath) -> None:
        text = _NOT_KEYS.get((section, key))
        if text is None:
            near = difflib.get_close_matches(key, keys_of(section), n=1)
            text = f"unknown key; did you mean '{near[0]}'?" if near else "unknown key, ignored"
        self.findings.warn("W-UNKNOWN-KEY", (*path, key), text, about_key=True)
