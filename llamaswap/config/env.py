"""`${env.NAME}` in configuration text.

Source: config §3.6.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from llamaswap.config import yaml12
from llamaswap.config.document import Listing, Node, Scalar, Table
from llamaswap.config.problems import ConfigInvalid, Findings, Place, Problem
from llamaswap.config.scalars import resolve

REFERENCE = re.compile(r"\$\{env\.([A-Za-z_][A-Za-z0-9_]*)\}")
_MARK = "${env."


def substitute(text: str, environ: Mapping[str, str], file: str) -> str:
    """`text` of one file with its references replaced.

    Only references in the content count: one in a YAML comment may be unset. Values are escaped
    for double-quoted strings wherever they go.

    Raises:
        ConfigInvalid: E-ENV-UNSET and E-ENV-CHARS, all of them.
    """
    if _MARK not in text:
        return text
    counted = _counted(text, file)
    problems = [
        Problem(code, reason, (), Place(file, _line(text, name)))
        for name in counted
        if (fault := _fault(name, environ)) is not None
        for code, reason in [fault]
    ]
    if problems:
        raise ConfigInvalid(tuple(problems))
    return _replace(text, {name: _escaped(environ[name]) for name in counted})


def substitute_again(root: Table, environ: Mapping[str, str], findings: Findings) -> Table:
    """The merged document with references that came out of variables replaced, one level.

    A value that changed is typed anew, as if the file had said so.
    """
    return _Second(environ, findings).table(root)


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


def _line(text: str, name: str) -> int | None:
    at = text.find(f"{_MARK}{name}}}")
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

    def table(self, table: Table) -> Table:
        result = Table(place=table.place, size=table.size, depth=table.depth)
        for key, node in table.entries.items():
            place = table.keys[key]
            name = self._text(key, place, escape=True) if _MARK in key else key
            if name in result.entries:
                text = f"the key '{name}' stands twice once variables are put in"
                self._findings.errors.append(Problem("E-YAML-DUPKEY", text, (), place))
            result.put(name, self._node(node), place)
        return result

    def _node(self, node: Node) -> Node:
        match node:
            case Table():
                return self.table(node)
            case Listing():
                items = [self._node(item) for item in node.items]
                return Listing(items, node.place, node.size, node.depth)
            case Scalar() if _MARK in node.text:
                text = self._text(node.text, node.place, escape=node.style != '"')
                if text == node.text:
                    return node
                value = resolve(text) if node.style == "plain" else text
                return Scalar(value, text, node.place, node.style)
            case _:
                return node

    def _text(self, text: str, place: Place, *, escape: bool) -> str:
        values: dict[str, str] = {}
        for name in dict.fromkeys(REFERENCE.findall(text)):
            fault = _fault(name, self._environ)
            if fault is None:
                value = self._environ[name]
                values[name] = _escaped(value) if escape else value
            else:
                self._findings.errors.append(Problem(*fault, (), place))
        return _replace(text, values)
