"""Every key that can be written means something: it reaches the resolved configuration, and what
is resolved is read by the program. Source: config part 2.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import yaml
from attrs import fields, has

import llamaswap
from llamaswap.config import schema
from llamaswap.config.load import load_config
from llamaswap.config.reader import keys_of
from llamaswap.config.resolved import as_document
from llamaswap.config.sections import RootSection

BASE: dict[str, Any] = {
    "models": {"m": {"cmd": "s ${PORT}", "capabilities": {"tools": True}},
               "n": {"cmd": "t ${PORT}"}},
    "peers": {"p": {"proxy": "http://p", "models": ["x", "y"]}},
    "selectors": {"s": {"strategy": "spillover", "targets": ["m"]}},
    "profiles": {"d": {"pins": {"a": "m"}}},
    "store": {"path": "a.db"},
}  # fmt: skip
MATRIX = {
    "models": BASE["models"],
    "matrix": {"sets": {"x": "m | n"}, "vars": {}, "evict_costs": {}},
}
ROUTER = {"models": BASE["models"], "routing": {"router": {"use": "group"}}}
NEW = "routing.router.settings"
BATCH, FIFO = "routing.scheduler.settings.batch", "routing.scheduler.settings.fifo"

TIMEOUTS = dict.fromkeys(
    ("connect", "keepalive", "responseHeader", "tlsHandshake", "expectContinue", "idleConn"), 7
)
FILTERS = {"stripParams": "a", "setParams": {"k": 1}, "setParamsByID": {"q": {"k": 1}}}
VALUES: dict[str, Any] = {
    "healthCheckTimeout": 99,
    "logLevel": "debug",
    "logTimeFormat": "rfc3339",
    "logToStdout": "both",
    "metricsMaxInMemory": 7,
    "captureBuffer": 7,
    "store.path": "b.db",
    "store.maxRows": 7,
    "ui.title": "T",
    "ui.basePath": "/llm",
    "ui.activity.session_id": ["X-T"],
    "performance.disabled": True,
    "performance.every": "7s",
    "globalTTL": 7,
    "unloadTimeout": 7,
    "startPort": 7000,
    "sendLoadingState": True,
    "streamKeepAlive": 7,
    "includeAliasesInList": True,
    "apiKeys": ["k"],
    "models.m.cmd": "t ${PORT}",
    "models.m.cmdStop": "t",
    "models.m.proxy": "http://t",
    "models.m.aliases": ["t"],
    "models.m.env": ["A=1"],
    "models.m.checkEndpoint": "/t",
    "models.m.ttl": 7,
    "models.m.unloadTimeout": 7,
    "models.m.unlisted": True,
    "models.m.useModelName": "t",
    "models.m.name": "t",
    "models.m.description": "t",
    "models.m.concurrencyLimit": 7,
    "models.m.filters.strip_params": "a",
    "models.m.metadata": {"k": 1},
    "models.m.sendLoadingState": True,
    "models.m.streamKeepAlive": 7,
    "models.m.compat.ignoreWebsockets": True,
    "models.m.capabilities.in": ["text"],
    "models.m.capabilities.out": ["text"],
    "models.m.capabilities.tools": False,
    "models.m.capabilities.reranker": True,
    "models.m.capabilities.context": 7,
    "profiles.d.description": "t",
    "profiles.d.pins": {"b": "m"},
    "selectors.s.strategy": "pin",
    "selectors.s.targets": ["n"],
    "selectors.s.settings.spillover": 7,
    "selectors.s.name": "t",
    "selectors.s.description": "t",
    "selectors.s.unlisted": True,
    "selectors.s.metadata": {"k": 1},
    "hooks.on_startup.preload": ["m"],
    "peers.p.proxy": "http://t",
    "peers.p.apiKey": "t",
    "peers.p.models": ["x"],
    "upstream.ignorePaths": ["t"],
    "routing.scheduler.use": "batch",
    **{f"models.m.timeouts.{key}": value for key, value in TIMEOUTS.items()},
    **{f"peers.p.timeouts.{key}": value for key, value in TIMEOUTS.items()},
    **{f"models.m.filters.{key}": value for key, value in FILTERS.items()},
    **{f"peers.p.filters.{key}": value for key, value in FILTERS.items()},
    **{f"groups.g.{key}": value for key, value in
       {"members": ["m"], "swap": False, "exclusive": False, "persistent": True}.items()},
    **{f"{NEW}.groups.g.{key}": value for key, value in
       {"members": ["m"], "swap": False, "exclusive": False, "persistent": True}.items()},
    **{f"{FIFO}.{key}": value for key, value in {"priority": {"m": 7}, "maxWait": 7.5}.items()},
    **{f"{BATCH}.{key}": value for key, value in
       {"priority": {"m": 7}, "maxWait": 7.5, "maxQueue": 7, "patience": 0.7,
        "minVisit": 7}.items()},
}  # fmt: skip
OTHERWISE = {
    # in a configuration of their own: they exclude what the others are written into
    "matrix.sets", "matrix.vars", "matrix.evict_costs",
    "routing.router.use", f"{NEW}.matrix.sets", f"{NEW}.matrix.vars", f"{NEW}.matrix.evict_costs",
    # they work on others, see the cases of macros
    "macros", "models.m.macros",
    "logRequests",  # has no effect, and a warning says so
}  # fmt: skip
ENTITIES = {"models": "m", "peers": "p", "selectors": "s", "profiles": "d", "groups": "g"}


def leaves(kind: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Every key that holds no other keys, with one entity for all of a kind."""
    if has(kind):
        for name, key in keys_of(kind).items():
            yield from leaves(key.kind, (*path, name))
    elif get_origin(kind) is dict and has(get_args(kind)[1]):
        yield from leaves(get_args(kind)[1], (*path, ENTITIES[path[-1]]))
    else:
        yield ".".join(path)


def resolved(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    path = folder / "c.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return as_document(load_config(path, None, environ={}).config)


def put(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    result = copy.deepcopy(document)
    node = result
    *above, last = path.split(".")
    for step in above:
        node = node.setdefault(step, {})
    node[last] = value
    return result


def test_every_key_is_tried_here() -> None:
    assert set(leaves(RootSection)) == set(VALUES) | OTHERWISE


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("key", VALUES)
def test_a_key_changes_what_the_configuration_resolves_to(key: str, tmp_path: Path) -> None:
    assert resolved(put(BASE, key, VALUES[key]), tmp_path) != resolved(BASE, tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("matrix.sets", {"x": "m & n"}),
        ("matrix.vars", {"v": "n"}),
        ("matrix.evict_costs", {"m": 7}),
    ],
)
def test_a_key_of_the_matrix_changes_what_the_configuration_resolves_to(
    key: str, value: Any, tmp_path: Path
) -> None:
    before = resolved(MATRIX, tmp_path)
    after = resolved(put(MATRIX, key, value), tmp_path)
    assert after != before
    new = put(ROUTER, "routing.router", {"use": "matrix", "settings": {"matrix": MATRIX["matrix"]}})
    assert resolved(new, tmp_path) == before
    assert resolved(put(new, f"routing.router.settings.{key}", value), tmp_path) == after


SHOWN_ONLY = {
    # models hold what follows from these
    ("Config", "start_port"), ("Config", "global_ttl"), ("Config", "unload_timeout"),
    ("Config", "send_loading_state"), ("Config", "stream_keep_alive"), ("Config", "macros"),
    ("Model", "macros"),
    ("Model", "auto_port"),  # the cmd and the proxy hold it; a reload keeps it
    ("Routing", "router"),  # there is a matrix, or there is none
}  # fmt: skip


@cache
def attributes_read() -> frozenset[str]:
    """Every `.name` that the program reads, outside of the room of the configuration."""
    package = Path(llamaswap.__file__).parent
    outside = [path for path in package.rglob("*.py") if "config" not in path.parts[-2:-1]]
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in outside)
    return frozenset(
        node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)
    )


@pytest.mark.parametrize(
    "cls", [value for value in vars(schema).values() if isinstance(value, type) and has(value)]
)
def test_what_is_resolved_is_read_by_the_program(cls: type) -> None:
    unread = {item.name for item in fields(cls)} - attributes_read()
    assert unread <= {name for owner, name in SHOWN_ONLY if owner == cls.__name__}
