"""`${env.NAME}` in configuration text.

Source: config §3.6.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from llamaswap.config import yaml12
from llamaswap.config.document import Listing, Node, Scalar, Table
from llamaswap.config.problems import ConfigInvalid, Findings, KeyPath, Place, Problem
from llamaswap.config.scalars import resolve

REFERENCE = re.compile(r"\$\{env\.([A-Za-z_][A-Za-z0-9_]*)\}")
MARK = "\ue000"
"""Stands around the name of a variable that cannot be used, where its value would stand.

YAML takes it for text. It means nothing in a document in which no variable is at fault.
"""
Faults = dict[str, tuple[str, str]]
"""Variable to code and text."""

_START = "${env."
_MARKED = re.compile(f"{MARK}([^{MARK}]+){MARK}")


def substitute(text: str, environ: Mapping[str, str], file: str) -> tuple[str, Faults]:
    """`text` of one file with its references replaced, and which variables cannot be used.

    Only references in the content count: one in a YAML comment may be unset. Values are escaped
    for double-quoted strings wherever they go. A variable that cannot be used leaves a mark, so
    that the rest can be read and judged.
    """
    if _START not in text:
        return text, {}
    counted = _counted(text, file)
    found = {name: fault for name in counted if (fault := _fault(name, environ)) is not None}
    values = {name: _marked(name) if name in found else _escaped(environ[name]) for name in counted}
    return _replace(text, values), found


def problems_of(faults: Faults, root: Node | None, text: str, file: str) -> list[Problem]:
    """One problem for each variable, at its first use. `root`: what `text` was read to."""
    uses: dict[str, tuple[KeyPath, Place]] = {}
    for path, words, place in _words(root, ()) if faults and root is not None else ():
        for name in _MARKED.findall(words):
            uses.setdefault(name, (path, place))
    problems = []
    for name, (code, reason) in faults.items():
        path, place = uses.get(name, ((), Place(file, None)))
        problems.append(
            Problem(
                code,
                reason,
                _as_written(path),
                Place(file, _line(text, name, place.line) or place.line),
            )
        )
    return problems


def spoiled(root: Node) -> list[KeyPath]:
    """What holds a mark, so that nobody knows what stands there."""
    return [path for path, words, _place in _words(root, ()) if MARK in words]


def substitute_again(root: Table, environ: Mapping[str, str], findings: Findings) -> Table:
    """The merged document with references that came out of variables replaced, one level.

    A value that changed is typed anew, as if the file had said so.
    """
    return _Second(environ, findings).table(root, ())


def _words(node: Node, path: KeyPath) -> Iterator[tuple[KeyPath, str, Place]]:
    """Every key and every scalar below `node`."""
    match node:
        case Scalar():
            yield path, node.text, node.place
        case Listing():
            for index, item in enumerate(node.items):
                yield from _words(item, (*path, index))
        case Table():
            for key, entry in node.entries.items():
                yield (*path, key), key, node.keys[key]
                yield from _words(entry, (*path, key))


def _counted(text: str, file: str) -> list[str]:
    """The names that must be set, in the order of their first use."""
    try:
        content: Iterable[str] = list(yaml12.texts(text, file))
    except ConfigInvalid:  # typically `[${env.KEY}]`, where the brace opens a mapping
        content = [text]
    return list(dict.fromkeys(name for part in content for name in REFERENCE.findall(part)))


def _fault(name: str, environ: Mapping[str, str]) -> tuple[str, str] | None:
    value = environ.get(name)
    if value is None:
        return "E-ENV-UNSET", f"the environment variable {name} is not set"
    if any(character in value for character in "\n\r\0"):
        text = f"the environment variable {name} holds a line break or NUL; use one line"
        return "E-ENV-CHARS", text
    if not value.isascii() and not _is_unicode(value):
        return "E-ENV-CHARS", f"the environment variable {name} is not valid UTF-8"
    return None


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # a byte that the interpreter smuggled through as a surrogate
        return False
    return True


def _marked(name: str) -> str:
    return f"{MARK}{name}{MARK}"


def _as_written(path: KeyPath) -> KeyPath:
    """`path` with references where keys hold marks."""
    return tuple(
        _MARKED.sub(r"${env.\1}", step) if isinstance(step, str) else step for step in path
    )


def _line(text: str, name: str, first: int | None) -> int | None:
    """The line of the first reference to `name` that does not stand before the line `first`."""
    start = 0
    for _ in range((first or 1) - 1):
        start = text.find("\n", start) + 1
    at = text.find(f"{_START}{name}}}", start)
    return None if at < 0 else text.count("\n", 0, at) + 1


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _replace(text: str, values: Mapping[str, str]) -> str:
    return REFERENCE.sub(lambda match: values.get(match[1], match[0]), text)


class _Second:
    """The pass over the merged tree; nodes are copied only where something changes."""

    def __init__(self, environ: Mapping[str, str], findings: Findings) -> None:
        self._environ = environ
        self._findings = findings

    def table(self, table: Table, path: KeyPath) -> Table:
        result = Table(place=table.place, size=table.size, depth=table.depth)
        for key, node in table.entries.items():
            place, here = table.keys[key], (*path, key)
            name = self._text(key, place, here, escape=True) if _START in key else key
            if name in result.entries:
                text = f"the key '{name}' stands twice once variables are put in"
                self._findings.errors.append(Problem("E-YAML-DUPKEY", text, here, place))
            result.put(name, self._node(node, (*path, name)), place)
        return result

    def _node(self, node: Node, path: KeyPath) -> Node:
        match node:
            case Table():
                return self.table(node, path)
            case Listing():
                items = [self._node(item, (*path, at)) for at, item in enumerate(node.items)]
                return Listing(items, node.place, node.size, node.depth)
            case Scalar() if _START in node.text:
                text = self._text(node.text, node.place, path, escape=node.style != '"')
                if text == node.text:
                    return node
                value = resolve(text) if node.style == "plain" else text
                return Scalar(value, text, node.place, node.style)
            case _:
                return node

    def _text(self, text: str, place: Place, path: KeyPath, *, escape: bool) -> str:
        values: dict[str, str] = {}
        for name in dict.fromkeys(REFERENCE.findall(text)):
            fault = _fault(name, self._environ)
            if fault is None:
                value = self._environ[name]
                values[name] = _escaped(value) if escape else value
            else:
                self._findings.errors.append(Problem(*fault, _as_written(path), place))
                values[name] = _marked(name)
        return _replace(text, values)
