"""A configuration means the same however it is spread over files. Source: config §1.5."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from llamaswap.config.load import load_config
from llamaswap.config.merge import ENTITY_MAPS
from llamaswap.config.report import printable
from llamaswap.config.schema import Config

WHOLE = {("macros",), ("matrix", "sets"), ("routing", "router", "settings", "matrix", "sets")}
"""Their order counts, so nobody may expect to spread them."""
PREFIXES = {path[:length] for path in ENTITY_MAPS for length in range(1, len(path) + 1)}
OTHERS = {("ui",), ("ui", "activity"), ("performance",), ("store",), ("hooks",)} | {
    ("routing", "scheduler", "settings", "fifo", "priority")[:length] for length in range(1, 6)
}
SPREAD = (PREFIXES | OTHERS) - WHOLE
"""Mappings whose entries may come from different files."""

IDS = st.sampled_from(["a", "b", "org/c", "d:7b", "e_1", "Z"])
TEXTS = st.sampled_from(["x", "${MODEL_ID}", "${one}", "${two} and ${PORT}", "", "ä b"])
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "healthCheckTimeout": st.integers(0, 200),
    "logLevel": st.sampled_from(["debug", "info", "warn", "error"]),
    "globalTTL": st.integers(0, 900),
    "startPort": st.integers(2000, 60000),
    "unloadTimeout": st.integers(0, 30),
    "captureBuffer": st.integers(-1, 20),
    "sendLoadingState": st.booleans(),
    "includeAliasesInList": st.booleans(),
    "logToStdout": st.sampled_from(["proxy", "upstream", "both", "none"]),
    "apiKeys": st.lists(st.sampled_from(["k1", "k2", "k3"]), max_size=3),
    "ui": st.fixed_dictionaries(
        {}, optional={"title": st.just("t"), "activity": st.just({"session_id": ["X-A"]})}
    ),
    "performance": st.fixed_dictionaries(
        {}, optional={"disabled": st.booleans(), "every": st.sampled_from(["5s", "1m"])}
    ),
}


def model(name: str) -> st.SearchStrategy[dict[str, Any]]:
    optional = {
        "description": TEXTS,
        "ttl": st.integers(-1, 900),
        "env": st.lists(TEXTS.map("A={}".format), max_size=2),
        "aliases": st.just([f"alias-of-{name}"]),
        "metadata": st.dictionaries(st.sampled_from(["k", "l"]), TEXTS, max_size=2),
        "filters": st.just({"setParamsByID": {"${MODEL_ID}-hot": {"temperature": 1.5}}}),
        "macros": st.just({"two": "${one}${MODEL_ID}"}),
        "concurrencyLimit": st.integers(0, 20),
    }
    return st.fixed_dictionaries({"cmd": st.just("run --port ${PORT} ${two}")}, optional=optional)


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    """A configuration that can be used, as JSON values."""
    document = draw(st.fixed_dictionaries({}, optional=SCALARS))
    document["macros"] = {"one": draw(st.sampled_from(["1", 2, 1.5, True])), "two": "t"}
    names = draw(st.lists(IDS, min_size=1, max_size=5, unique=True))
    document["models"] = {name: draw(model(name)) for name in names}
    members = draw(st.lists(st.sampled_from(names), unique=True))
    match draw(st.sampled_from(["groups", "new groups", "matrix", "new matrix", "nothing"])):
        case "groups":
            document["groups"] = groups(draw, members)
        case "new groups":
            settings_of = {"groups": groups(draw, members)}
            document["routing"] = {"router": {"settings": settings_of}}
        case "matrix":
            document["matrix"] = matrix(names)
        case "new matrix":
            router = {"use": "matrix", "settings": {"matrix": matrix(names)}}
            document["routing"] = {"router": router}
        case _:
            pass
    if draw(st.booleans()):
        priority = {name: draw(st.integers(-3, 3)) for name in members}
        scheduler = {"use": "fifo", "settings": {"fifo": {"priority": priority}}}
        document.setdefault("routing", {})["scheduler"] = scheduler
    if draw(st.booleans()):
        document["peers"] = {
            peer: {"proxy": f"http://{peer}.example", "models": ["far"]} for peer in ("hub", "p2")
        }
        document["selectors"] = {"any": {"strategy": "pin", "targets": [names[0], "hub/far"]}}
    if draw(st.booleans()):
        document["profiles"] = {"day": {"pins": {"x": names[0]}}, "night": {"pins": {"x": ""}}}
        document["hooks"] = {"on_startup": {"preload": draw(st.lists(st.sampled_from(names)))}}
    return document


def groups(draw: st.DrawFn, members: list[str]) -> dict[str, Any]:
    half = len(members) // 2
    flags = st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("swap", "exclusive", "persistent"), st.booleans())
    )
    parts = {"g1": members[:half], "g2": members[half:]}
    return {name: {**draw(flags), "members": part} for name, part in parts.items()}


def matrix(names: list[str]) -> dict[str, Any]:
    variables = {f"v{index}": name for index, name in enumerate(names)}
    sets = {"z": " | ".join(variables), "m": "+z", "a": " & ".join(variables)}
    return {"vars": variables, "evict_costs": {"v0": 3}, "sets": sets}


def spread(draw: st.DrawFn, node: Any, path: tuple[str, ...], parts: list[dict[str, Any]]) -> None:
    """Put what stands at `path` into one of `parts`, or its entries into several."""
    if path and path not in SPREAD:
        _put(draw(st.sampled_from(parts)), path, node)
        return
    for key, entry in node.items():
        spread(draw, entry, (*path, key), parts)


def _put(part: dict[str, Any], path: tuple[str, ...], node: Any) -> None:
    for key in path[:-1]:
        part = part.setdefault(key, {})
    part[path[-1]] = node


@st.composite
def split_configurations(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    document = draw(configurations())
    parts: list[dict[str, Any]] = [{} for _ in range(draw(st.integers(2, 5)))]
    spread(draw, document, (), parts)
    # a scalar may stand in several files as long as they agree
    for key, value in document.items():
        if not isinstance(value, dict | list):
            for part in draw(st.lists(st.sampled_from(range(len(parts))), max_size=2)):
                parts[part][key] = value
    return document, draw(st.permutations(parts))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "conf.d").mkdir()
    return tmp_path


def load_parts(folder: Path, parts: list[dict[str, Any]], *, first_apart: bool) -> Config:
    directory = folder / "conf.d"
    for old in directory.iterdir():
        old.unlink()
    apart = folder / "first.yaml" if first_apart and len(parts) > 1 else None
    for number, part in enumerate(parts):
        path = apart if apart is not None and number == 0 else directory / f"{number}.yaml"
        path.write_text(json.dumps(part), encoding="utf-8")
    return load_config(apart, directory, environ={}).config


def everything(config: Config) -> tuple[Config, str]:
    """Equality of mappings does not look at order, which counts for sets."""
    matrix = config.routing.matrix
    return config, str(list(matrix.sets)) if matrix is not None else ""


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(split=split_configurations(), first_apart=st.booleans())
def test_split_over_files_in_any_order_it_is_the_same(
    folder: Path,
    split: tuple[dict[str, Any], list[dict[str, Any]]],
    first_apart: bool,
) -> None:
    document, parts = split
    event(f"{len(parts)} files")
    whole = load_parts(folder, [document], first_apart=False)
    assert everything(load_parts(folder, parts, first_apart=first_apart)) == everything(whole)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(document=configurations())
def test_what_is_printed_loads_back_to_the_same(folder: Path, document: dict[str, Any]) -> None:
    document.pop("apiKeys", None)  # hidden when printed
    config = load_parts(folder, [document], first_apart=False)
    path = folder / "printed.yaml"
    path.write_text(printable(config), encoding="utf-8")
    assert printable(load_config(path, None, environ={}).config) == printable(config)
