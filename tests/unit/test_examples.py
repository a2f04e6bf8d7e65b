"""The examples load as they are, and the full one is full."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
import yaml
from attrs import has

from llamaswap.config.json_schema import json_schema
from llamaswap.config.load import Loaded, load_config
from llamaswap.config.reader import keys_of
from llamaswap.config.sections import RootSection

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted(EXAMPLES.glob("*.yaml"))
FOLDERS = sorted(path for path in EXAMPLES.iterdir() if path.is_dir())
ENVIRON = {"LLAMASWAP_KEY": "k1", "BIG_BOX_KEY": "k2", "PROVIDER_KEY": "k3"}
LEGACY = {"logRequests", "groups", "matrix"}
"""At the top level: without effect, or with a newer place."""


def load(path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Loaded:
    monkeypatch.chdir(folder)  # full.yaml keeps its store in the working directory
    file, directory = (None, path) if path.is_dir() else (path, None)
    return load_config(file, directory, environ=ENVIRON)


@pytest.mark.parametrize("path", [*FILES, *FOLDERS], ids=lambda path: path.name)
def test_an_example_loads_without_a_warning(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    loaded = load(path, monkeypatch, tmp_path)
    assert loaded.warnings == ()
    assert loaded.config.models


@pytest.mark.parametrize("path", [*FILES, *EXAMPLES.glob("*/*.yaml")], ids=lambda path: path.name)
def test_an_example_is_valid_for_editors(path: Path) -> None:
    document = yaml.safe_load(path.read_text("utf-8"))
    validator = jsonschema.Draft7Validator(json_schema())
    assert [error.message for error in validator.iter_errors(document)] == []


def test_the_full_example_shows_every_key() -> None:
    document = yaml.safe_load((EXAMPLES / "full.yaml").read_text("utf-8"))
    assert list(missing(document, RootSection, "")) == []


def missing(node: Any, section: Any, path: str) -> Iterator[str]:
    """Keys of `section` that neither `node` nor any of its siblings shows."""
    nodes = node if isinstance(node, list) else [node]
    for name, key in keys_of(section).items():
        if section is RootSection and name in LEGACY:
            continue
        found = [item[name] for item in nodes if item and name in item]
        if not found:
            yield f"{path}.{name}"
            continue
        inner = key.kind if has(key.kind) else (get_args(key.kind) or (None,))[-1]
        if has(inner):
            below = found if has(key.kind) else [e for item in found for e in item.values()]
            yield from missing(below, inner, f"{path}.{name}")


def test_the_full_example_states_the_defaults_it_says_it_states(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Lines whose comment names no other default hold the default."""
    config = load(EXAMPLES / "full.yaml", monkeypatch, tmp_path).config
    default = load_config(write(tmp_path / "empty.yaml"), None, environ={}).config
    for name in (
        "health_check_timeout", "start_port", "global_ttl", "unload_timeout", "log_level",
        "send_loading_state", "log_to_stdout", "metrics_max_in_memory", "capture_buffer",
        "performance", "session_id_headers", "api_keys", "include_aliases_in_list", "ignore_paths",
        "ui_base_path",
    ):  # fmt: skip
        assert getattr(config, name) == getattr(default, name), name
    chat = config.models["chat"]
    plain = config.models["coder"]
    for name in ("check_endpoint", "timeouts", "ignore_websockets", "unlisted", "limit"):
        assert getattr(chat, name) == getattr(plain, name), name


def write(path: Path) -> Path:
    path.write_text("")
    return path
