"""What a reload leaves alone. Source: config §1.7, lifecycle §1.11."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from attrs import fields

from llamaswap.config.diff import PROCESS_FIELDS, Difference, automatic_ports, compare
from llamaswap.config.load import load_config
from llamaswap.config.schema import Config, Model

BEFORE = """
models:
  b: {cmd: "s --port ${PORT} -c 5800", metadata: {port: "${PORT}"}}
  c: {cmd: "s --port ${PORT}", aliases: ["c-${PORT}"], filters: {setParamsByID: {"x${PORT}": {}}}}
  fixed: {cmd: run, proxy: "http://h:1"}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "c.yaml"


def load(path: Path, text: str, sticky_ports: Mapping[str, int] | None = None) -> Config:
    path.write_text(text)
    return load_config(path, None, environ={}, sticky_ports=sticky_ports).config


def test_the_same_text_leaves_everything_unchanged(path: Path) -> None:
    difference = compare(load(path, BEFORE), load(path, BEFORE))
    assert difference == Difference(unchanged=("b", "c", "fixed"))


def test_every_model_is_in_one_list(path: Path) -> None:
    after = BEFORE.replace('c: {cmd: "s', 'c: {cmd: "t').replace("fixed:", "moved:")
    assert compare(load(path, BEFORE), load(path, after)) == Difference(
        unchanged=("b",), changed=("c",), removed=("fixed",), added=("moved",)
    )


def test_a_macro_counts_by_what_it_does(path: Path) -> None:
    first = "macros: {x: s}\nmodels: {a: {cmd: '${x} ${PORT}', macros: {n: 1}}}"
    second = "macros: {x: t, y: s}\nmodels: {a: {cmd: '${y} ${PORT}'}}"
    assert compare(load(path, first), load(path, second)).unchanged == ("a",)


def test_a_default_counts_where_it_is_used(path: Path) -> None:
    text = "models: {own: {cmd: 's ${PORT}', ttl: 5}, default: {cmd: 's ${PORT}'}}\n"
    difference = compare(load(path, text), load(path, text + "globalTTL: 9"))
    assert difference == Difference(unchanged=("own",), adjusted=("default",))


@pytest.mark.parametrize(
    "key",
    [
        "ttl: 9", "name: n", "description: d", "aliases: [x]", "unlisted: true",
        "concurrencyLimit: 3", "useModelName: n", "unloadTimeout: 3", "metadata: {k: 1}",
        "filters: {setParams: {k: 1}}", "timeouts: {connect: 3}", "sendLoadingState: true",
        "capabilities: {tools: true}", "compat: {ignoreWebsockets: true}", "macros: {k: 1}",
    ],
)  # fmt: skip
def test_what_a_process_is_not_started_with_leaves_it_alone(key: str, path: Path) -> None:
    before = load(path, "models: {a: {cmd: 's ${PORT}'}}")
    after = load(path, f"models: {{a: {{cmd: 's ${{PORT}}', {key}}}}}")
    assert compare(before, after).changed == ()


@pytest.mark.parametrize(
    "key", ["cmdStop: t", "proxy: 'http://h:1'", "env: [A=1]", "checkEndpoint: /ready"]
)
def test_what_a_process_is_started_with_replaces_it(key: str, path: Path) -> None:
    before = load(path, "models: {a: {cmd: 's ${PORT}'}}")
    after = load(path, f"models: {{a: {{cmd: 's ${{PORT}}', {key}}}}}")
    assert compare(before, after) == Difference(changed=("a",))


def test_every_field_of_a_model_is_known_to_replace_the_process_or_not() -> None:
    """A new field has to be placed: what a process is started with must be in PROCESS_FIELDS."""
    live = {
        "id", "auto_port", "aliases", "ttl", "unload_timeout", "unload_timeout_set", "unlisted",
        "use_model_name", "name", "description", "concurrency_limit", "filters", "metadata",
        "send_loading_state", "stream_keep_alive", "timeouts", "ignore_websockets", "capabilities",
        "macros",
    }  # fmt: skip
    assert {item.name for item in fields(Model)} == live | set(PROCESS_FIELDS)


def test_a_new_model_in_front_changes_no_port_of_those_that_run(path: Path) -> None:
    before = load(path, BEFORE)
    after = load(path, BEFORE + "  a: {cmd: 's ${PORT}'}", automatic_ports(before))
    assert automatic_ports(after) == {"b": 5800, "c": 5801, "a": 5802}
    assert compare(before, after) == Difference(unchanged=("b", "c", "fixed"), added=("a",))


def test_another_start_port_moves_no_model_that_runs(path: Path) -> None:
    before = load(path, BEFORE)
    text = "startPort: 7000" + BEFORE + "  a: {cmd: 's ${PORT}'}"
    after = load(path, text, automatic_ports(before))
    assert automatic_ports(after) == {"b": 5800, "c": 5801, "a": 7000}


def test_the_port_of_a_model_that_is_removed_is_not_given_away_at_once(path: Path) -> None:
    before = load(path, BEFORE)
    after = load(path, "models: {z: {cmd: 's ${PORT}'}}", automatic_ports(before))
    assert automatic_ports(after) == {"z": 5802}


def test_a_model_that_no_longer_asks_for_a_port_has_none(path: Path) -> None:
    before = load(path, BEFORE)
    text = "models: {b: {cmd: run, proxy: 'http://h:1'}}"
    assert automatic_ports(load(path, text, automatic_ports(before))) == {}


def test_without_sticky_ports_a_model_is_unchanged_wherever_its_port_went(path: Path) -> None:
    after = load(path, BEFORE + "  a: {cmd: 's ${PORT}'}")
    difference = compare(load(path, BEFORE), after)
    assert difference.unchanged == ("c", "fixed")
    assert difference.changed == ("b",)  # its "-c 5800" may have been a port: better restart it
