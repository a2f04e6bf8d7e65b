"""Declaring macros: which names and values are allowed.

Source: config §3.1.
"""

from __future__ import annotations

import re

from llamaswap.config.document import Node, Scalar, Table, Value, is_null, kind
from llamaswap.config.problems import Findings, KeyPath
from llamaswap.config.scalars import number_text

MAX_NAME = 63
RESERVED = ("PID", "PORT", "MODEL_ID")
NAME = re.compile(r"[A-Za-z0-9_-]+")

Macros = dict[str, Scalar]
"""In the order of declaration; the scalars' `text` is what is inserted into other text."""


def declared(node: Node | None, path: KeyPath, findings: Findings) -> Macros:
    """The macros a `macros` section declares; those that are refused are left out."""
    if node is None or is_null(node):
        return {}
    if not isinstance(node, Table):
        text = f"macros must be a mapping of names to values, this is {kind(node)}"
        findings.error("E-MACRO-MAP", path, text)
        return {}
    result: Macros = {}
    for name, value in node.entries.items():
        fault = _fault(name, value)
        if fault is None:
            assert isinstance(value, Scalar)
            result[name] = constant(value.value)
        else:
            findings.error(fault[0], (*path, name), _blame(path) + fault[1])
    return result


def constant(value: Value) -> Scalar:
    """`value` as a macro inserts it."""
    return Scalar(value, _rendered(value))


def reference(name: str) -> str:
    """How `name` is written where it is used."""
    return f"${{{name}}}"


def _blame(path: KeyPath) -> str:
    return f"model '{path[1]}': " if path[0] == "models" else ""


def _fault(name: str, node: Node) -> tuple[str, str] | None:
    if len(name) > MAX_NAME:
        return "E-MACRO-LEN", f"the macro name '{name}' is longer than {MAX_NAME} characters"
    if not NAME.fullmatch(name):
        text = f"the macro name '{name}' may hold only letters, digits, '_' and '-'"
        return "E-MACRO-NAME", text
    if not isinstance(node, Scalar) or node.value is None:
        what = "empty" if is_null(node) else kind(node)
        text = f"the macro '{name}' must be text, a number or true/false; it is {what}"
        return "E-MACRO-TYPE", text
    if isinstance(node.value, str) and reference(name) in node.value:
        return "E-MACRO-SELF", f"the macro '{name}' refers to itself"
    if name in RESERVED:
        return "E-MACRO-RESERVED", f"the macro name '{name}' is reserved; choose another"
    return None


def _rendered(value: Value) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return number_text(value)
        case None:
            return ""
        case _:
            return str(value)
