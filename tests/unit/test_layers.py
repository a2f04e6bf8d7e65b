"""Imports point up the table of rooms only. Source: docs/architecture.md."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "llamaswap"
LAYERS = {
    "chunk_decoder": 0,
    "content_coding": 0,
    "memory": 0,
    "errors": 0,
    "error_envelope": 0,
    "http_client": 0,
    "service_manager": 0,
    "version": 0,
    "config": 1,
    "models_folder": 1,
    "telemetry": 1,
    "planning": 2,
    "nursery": 3,
    "proxy": 4,
    "api": 4,
    "demo": 4,
    "app": 5,
    "reload": 5,
    "preload": 5,
    "commands": 5,
    "forwarding": 5,
    "vllm_wrapper": 5,
    "wol_proxy": 5,
    "flags": 5,
    "cli": 5,
    "__main__": 5,
    "__init__": 0,
}
SEPARATE = {("proxy", "api"), ("api", "proxy"), ("config", "telemetry")}
"""Rooms of one layer that do not know each other; `telemetry` may read `config`."""
CONFINED = {
    "httpx": {"http_client"},
    "quart": {"api"},
    "quart_trio": {"api"},
    "hypercorn": {"api"},
    "sqlite3": {"telemetry"},
    "pynvml": {"telemetry"},
    "httptools": {"chunk_decoder", "proxy", "telemetry"},
    "h11": {"demo"},
}
PURE = ("planning", "config/schema.py")
IMPURE = {"trio", "time", "random", "os", "socket", "subprocess", "logging", "httpx", "psutil"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def identify(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def test_every_room_stands_in_the_table() -> None:
    assert {room(path) for path in modules()} <= set(LAYERS)


@pytest.mark.parametrize("path", modules(), ids=identify)
def test_imports_point_up_the_table(path: Path) -> None:
    here = room(path)
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != "llamaswap" or len(parts) < 2 or parts[1] not in LAYERS:
            continue
        there = parts[1]
        assert LAYERS[there] <= LAYERS[here], f"{identify(path)} imports {name}"
        assert (here, there) not in SEPARATE, f"{identify(path)} imports {name}"


@pytest.mark.parametrize("path", modules(), ids=identify)
def test_libraries_stay_in_their_rooms(path: Path) -> None:
    for name in imported(path):
        rooms = CONFINED.get(name.split(".")[0])
        assert rooms is None or room(path) in rooms, f"{identify(path)} imports {name}"


@pytest.mark.parametrize(
    "path",
    [path for path in modules() if identify(path).startswith(PURE)],
    ids=identify,
)
def test_deciding_rooms_know_no_clock_and_no_io(path: Path) -> None:
    assert not {name.split(".")[0] for name in imported(path)} & IMPURE
