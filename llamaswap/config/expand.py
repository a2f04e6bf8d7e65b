"""Putting macros, model ids and ports into the document.

Source: config part 3.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping

from attrs import define, evolve, field, frozen

from llamaswap.config import macros as macro
from llamaswap.config.argv import without_comments
from llamaswap.config.document import Listing, Node, Scalar, Table, get, is_null, scalars
from llamaswap.config.env import MARK
from llamaswap.config.env import REFERENCE as ENV_REFERENCE
from llamaswap.config.macros import Macros
from llamaswap.config.ports import HIGHEST, Ports
from llamaswap.config.problems import Findings, KeyPath, Place

DEFAULT_PROXY = "http://localhost:${PORT}"
DEFAULT_START_PORT = 5800
WINDOWS_STOP = "taskkill /f /t /pid ${PID}"
MAX_EXPANDED = 16 * 1024 * 1024
"""Characters all macros together may produce; a doubling chain of 30 macros would fill memory."""

_REFERENCE = re.compile(r"\$\{([A-Za-z0-9_-]+)\}")
_PORT = "${PORT}"
_BY_ID = ("filters", "setParamsByID")


@define
class Expanded:
    """A document without references, and what was found on the way."""

    root: Table
    ports: dict[str, int] = field(factory=dict)
    """Automatic port of each model that uses one."""
    macros: Macros = field(factory=dict)
    model_macros: dict[str, Macros] = field(factory=dict)


class _TooMuch(Exception):
    """The macros produce more text than anyone can mean."""


@define
class _Budget:
    left: int = MAX_EXPANDED

    @property
    def spent(self) -> bool:
        """Whether nothing is expanded any more."""
        return self.left < 0

    def spend(self, characters: int) -> None:
        self.left -= characters
        if self.spent:
            raise _TooMuch


@frozen
class _Excuse:
    """References that may stay because what they stand for has been refused already."""

    budget: _Budget
    names: frozenset[str] = frozenset()
    everything: bool = False
    """Whether nobody knows which macros there are."""

    def knows(self, name: str) -> bool:
        return self.everything or self.budget.spent or name in self.names

    def covers(self, text: str) -> bool:
        """Whether what `text` says is unknown for one of those reasons."""
        return (
            MARK in text
            or ((self.everything or self.budget.spent) and "${" in text)
            or any(macro.reference(name) in text for name in self.names)
        )

    def with_macros(self, node: Node | None, declared: Macros) -> _Excuse:
        """The excuses of a scope that adds the section `node`, of which `declared` was accepted."""
        if node is None:
            return self
        if not isinstance(node, Table):
            return evolve(self, everything=True)
        refused = node.entries.keys() - declared.keys()
        hidden = any(MARK in name for name in refused)
        return evolve(self, names=self.names | refused, everything=self.everything or hidden)

    def with_port(self) -> _Excuse:
        return evolve(self, names=self.names | {"PORT"})


class _Expander:
    """Replaces the references of one scope; copies what it walks over."""

    def __init__(self, scope: Macros, budget: _Budget) -> None:
        self._macros = [(macro.reference(name), value) for name, value in reversed(scope.items())]
        self._budget = budget

    def node(self, node: Node) -> Node:
        match node:
            case Scalar():
                return self.scalar(node)
            case Listing():
                return Listing([self.node(item) for item in node.items], node.place)
            case Table():
                entries = {key: self.node(entry) for key, entry in node.entries.items()}
                return Table(entries, node.keys, node.place)

    def scalar(self, node: Scalar) -> Scalar:
        if not isinstance(node.value, str) or "${" not in node.value:
            return node
        if self._budget.spent:
            return node
        try:
            return self._expanded(node, node.value)
        except _TooMuch:
            return node

    def _expanded(self, node: Scalar, written: str) -> Scalar:
        result = Scalar(written, written, node.place)
        for name, value in self._macros:
            if not isinstance(result.value, str):
                break
            if result.value == name:
                result.value, result.text = value.value, value.text
            elif name in result.value:
                result.value = result.text = self._inserted(result.value, name, value.text)
        self._budget.spend(len(result.text))
        return result

    def text(self, text: str) -> str:
        """A key with its references replaced."""
        return self.scalar(Scalar(text, text)).text

    def _inserted(self, text: str, name: str, value: str) -> str:
        size = len(text) + text.count(name) * len(value)
        if size > MAX_EXPANDED:
            self._budget.spend(size)
        return text.replace(name, value)


def expand(
    root: Table,
    known: Iterable[str],
    sticky_ports: Mapping[str, int],
    findings: Findings,
    *,
    windows: bool = sys.platform == "win32",
) -> Expanded:
    """`root` with every reference in the `known` top-level sections replaced.

    What is wrong goes to `findings`. References to macros that were refused stay and are spoiled.
    """
    result = Expanded(Table(dict(root.entries), root.keys, root.place))
    macros = get(root, "macros")
    result.macros = macro.declared(macros, ("macros",), findings)
    models = get(root, "models")
    models = models if isinstance(models, Table) else Table()
    for model in sorted(models.entries):
        path = ("models", model, "macros")
        result.model_macros[model] = macro.declared(
            get(models.entries[model], "macros"), path, findings
        )
    excuse = _Excuse(_Budget(), everything=findings.incomplete).with_macros(macros, result.macros)
    expander = _Expander(result.macros, excuse.budget)
    for key in known:
        if key in root.entries and key not in ("macros", "models"):
            result.root.entries[key] = expander.node(result.root.entries[key])
            _refuse_leftovers(result.root.entries[key], (key,), findings, excuse)
    ports = Ports(_start_port(result.root), sticky_ports)
    expanded = Table(keys=models.keys, place=models.place)
    for model in sorted(models.entries):
        expansion = _Model(model, result, ports, excuse, findings, windows)
        expanded.entries[model] = expansion.expand(models.entries[model])
    if models.entries:
        result.root.entries["models"] = expanded
    if excuse.budget.spent:
        size = MAX_EXPANDED // (1024 * 1024)
        text = f"the macros expand to more than {size} million characters in all"
        findings.error("E-MACRO-SIZE", ("macros",), text)
    return result


def _start_port(root: Table) -> int:
    node = get(root, "startPort")
    value = node.value if isinstance(node, Scalar) else None
    return value if type(value) is int else DEFAULT_START_PORT


@define
class _Model:
    """The expansion of one model."""

    id: str
    result: Expanded
    ports: Ports
    excuse: _Excuse
    findings: Findings
    windows: bool

    def expand(self, node: Node) -> Node:
        if is_null(node):
            node = Table(place=node.place)
        if not isinstance(node, Table):
            return node  # refused when it is typed
        table = self._prepared(node)
        scope = self._scope()
        if self._wants_port(table, scope):
            port = self.result.ports[self.id] = self.ports.assign(self.id)
            scope = {"PORT": macro.constant(port)} | scope
            if port > HIGHEST:
                text = f"the automatic port {port} is above {HIGHEST}; lower startPort"
                self.findings.warn("W-PORT", ("models", self.id), text)
        expanded = self._expanded(table, scope)
        own = get(node, "macros")
        self._check(expanded, self.excuse.with_macros(own, self.result.model_macros[self.id]))
        return expanded

    def _prepared(self, node: Table) -> Table:
        """A copy with comments gone and the defaults that hold references in place."""
        table = Table(dict(node.entries), dict(node.keys), node.place)
        if is_null(table.entries.get("proxy")):
            table.put("proxy", Scalar(DEFAULT_PROXY, DEFAULT_PROXY), self._place())
        if self.windows and is_null(table.entries.get("cmdStop")):
            table.put("cmdStop", Scalar(WINDOWS_STOP, WINDOWS_STOP), self._place())
        for key in ("cmd", "cmdStop"):
            command = table.entries.get(key)
            if isinstance(command, Scalar) and isinstance(command.value, str):
                text = without_comments(command.value)
                table.entries[key] = Scalar(text, text, command.place)
        return table

    def _place(self) -> Place:
        return self.findings.locate(("models", self.id))

    def _scope(self) -> Macros:
        own = self.result.model_macros[self.id]
        return {"MODEL_ID": macro.constant(self.id)} | self.result.macros | own

    def _wants_port(self, table: Table, scope: Macros) -> bool:
        command = table.entries.get("cmd")
        if command is None or is_null(command):
            return False
        if not isinstance(command, Scalar):
            return True  # refused when it is typed; spares a second problem about the port
        return _PORT in _Expander(scope, self.excuse.budget).scalar(command).text

    def _expanded(self, table: Table, scope: Macros) -> Table:
        expander = _Expander(scope, self.excuse.budget)
        result = Table(keys=table.keys, place=table.place)
        for key, node in table.entries.items():
            result.entries[key] = node if key == "macros" else expander.node(node)
        filters = result.entries.get("filters")
        by_id = get(filters, "setParamsByID")
        if isinstance(filters, Table) and isinstance(by_id, Table):
            filters.entries["setParamsByID"] = self._renamed(by_id, expander)
        return result

    def _renamed(self, table: Table, expander: _Expander) -> Table:
        """`setParamsByID` with its keys expanded, the only keys that are."""
        result = Table(place=table.place)
        for key, node in table.entries.items():
            name = expander.text(key)
            if name in result.entries:
                text = f"model '{self.id}': two keys both become '{name}'; keep one"
                path = ("models", self.id, *_BY_ID, key)
                self.findings.error("E-BYID-COLLIDE", path, text)
            result.put(name, node, table.keys[key])
        return result

    def _check(self, table: Table, excuse: _Excuse) -> None:
        path = ("models", self.id)
        if "cmd" in table.entries:
            _refuse_leftovers(table.entries["cmd"], (*path, "cmd"), self.findings, excuse)
        if self._proxy_lacks_port(table):
            excuse = excuse.with_port()  # said once, whatever else wants the port
        for key, node in table.entries.items():
            if key not in ("cmd", "macros"):
                _refuse_leftovers(node, (*path, key), self.findings, excuse)
        by_id = get(table, *_BY_ID)
        for key in by_id.entries if isinstance(by_id, Table) else ():
            _refuse_leftover(key, (*path, *_BY_ID, key), self.findings, excuse)

    def _proxy_lacks_port(self, table: Table) -> bool:
        """Whether it wants a port that the command does not ask for."""
        proxy = table.entries["proxy"]
        if not isinstance(proxy, Scalar) or _PORT not in proxy.text:
            return False
        command = ("models", self.id, "cmd")
        text = (
            "proxy uses ${PORT} but cmd does not, so no port is assigned; put ${PORT} into "
            "cmd, or set proxy to the address the command listens on"
        )
        here = command if proxy.text == DEFAULT_PROXY else ("models", self.id, "proxy")
        if is_null(table.entries.get("cmd")):
            text = "it has no cmd; write the command that runs its server, with ${PORT} in it"
            here = command
        if not self.findings.is_doubtful(command):  # or it may be just that
            self.findings.error("E-PORT-PROXY", here, f"model '{self.id}': {text}")
        return True


def _refuse_leftovers(node: Node, path: KeyPath, findings: Findings, excuse: _Excuse) -> None:
    for where, scalar in scalars(node, path):
        if isinstance(scalar.value, str) and ("${" in scalar.value or MARK in scalar.value):
            _refuse_leftover(scalar.value, where, findings, excuse)


def _refuse_leftover(text: str, path: KeyPath, findings: Findings, excuse: _Excuse) -> None:
    if findings.errors and excuse.covers(text):
        findings.spoil(path)
    for name in dict.fromkeys(_REFERENCE.findall(text)):
        if name == "PID" and path[0] == "models" and path[2:] == ("cmdStop",):
            continue
        if not excuse.knows(name):
            findings.error("E-MACRO-UNKNOWN", path, _explained(name, in_model=path[0] == "models"))
    for name in dict.fromkeys(ENV_REFERENCE.findall(text)):
        reason = f"${{env.{name}}} came out of a macro or a variable and is not replaced again"
        findings.error("E-ENV-UNSET", path, reason)


def _explained(name: str, *, in_model: bool) -> str:
    if name == "PID":
        return "${PID} exists only in cmdStop of a model"
    if name in ("PORT", "MODEL_ID") and not in_model:
        return f"${{{name}}} exists only inside a model"
    if name == "PORT":
        return "${PORT} stands for nothing here: no port is assigned because cmd does not use it"
    return (
        f"there is no macro '{name}' for ${{{name}}} here; a macro may use only those declared "
        "before it"
    )
