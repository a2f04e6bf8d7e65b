"""The configuration cases, each of them one load. Source: config part 7."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from llamaswap.config import matrix_dsl
from llamaswap.config.argv import split_command
from llamaswap.config.load import Loaded, load_config
from llamaswap.config.matrix_dsl import AllOf, Name, Node, OneOf, Reference
from llamaswap.config.names import Names
from llamaswap.config.problems import ConfigInvalid
from llamaswap.config.resolved import as_document

Case = Mapping[str, Any]


@cache
def cases() -> list[dict[str, Any]]:
    text = Path(__file__).with_name("config_cases.yaml").read_text("utf-8")
    loaded: list[dict[str, Any]] = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return loaded


def having(*keys: str) -> list[Any]:
    found = [case for case in cases() if any(key in case for key in keys)]
    return [pytest.param(case, id=case["id"]) for case in found]


def load(case: Case, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    monkeypatch.chdir(directory)
    files, args = case.get("files", {}), case.get("args", {})
    if "config" in case:
        files, args = {"case.yaml": case["config"]}, {"config": "case.yaml"}
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    config, config_dir = (Path(args[key]) if key in args else None for key in ("config", "dir"))
    return load_config(config, config_dir, environ=case.get("env", {}))


def rendered(loaded: Loaded) -> dict[str, Any]:
    """The resolved configuration as the cases spell it.

    They show a few values as they were written where the program keeps what these mean.
    """
    config, written = loaded.config, loaded.written
    document = as_document(config)
    document["performance"]["every"] = config.performance.every
    document["logLevel"] = written.log_level
    document["logTimeFormat"] = written.log_time_format
    document["metricsMaxInMemory"] = written.metrics_max_in_memory
    for model in document["models"].values():
        model["healthCheckTimeout"] = config.health_check_timeout
    fifo = document["routing"]["scheduler"]["settings"]["fifo"]
    fifo["priority"] = written.routing.scheduler.settings.fifo.priority
    return document


def assert_contains(actual: Any, expected: Any, path: str = "") -> None:
    """Mappings key by key, everything else exactly and of the same type."""
    if isinstance(expected, dict) and expected:
        assert isinstance(actual, dict), path
        for key, value in expected.items():
            assert key in actual, f"{path}.{key}"
            assert_contains(actual[key], value, f"{path}.{key}")
    else:
        number = isinstance(expected, int) and isinstance(actual, float)
        assert number or type(actual) is type(expected), path
        assert actual == expected, path


@pytest.mark.parametrize("case", having("expect"))
def test_a_configuration_resolves_to(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_contains(rendered(load(case, tmp_path, monkeypatch)), case["expect"])


@pytest.mark.parametrize("case", [case for case in having("error") if "cmd" not in case.values[0]])
def test_a_configuration_is_refused_with(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load(case, tmp_path, monkeypatch)
    assert {problem.code for problem in caught.value.problems} == {case["error"]}
    for name in case.get("names", []):
        assert name in str(caught.value)


NO_LINE = ("E-FILE-READ", "E-DIR-READ", "E-DIR-EMPTY", "E-DIR-OVERLAP")
NO_PATH = (*NO_LINE, "E-FILE-YAML", "E-FILE-TOP")


@pytest.mark.parametrize("case", [case for case in having("error") if "cmd" not in case.values[0]])
def test_a_problem_names_file_line_and_key(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load(case, tmp_path, monkeypatch)
    for problem in caught.value.problems:
        if problem.code == "E-CLI-NOSRC":
            continue
        assert problem.file
        assert (problem.line is None) == (problem.code in NO_LINE)
        # env-06: a text that is YAML only once the variable is in it, which stands in a comment
        assert (problem.path == ()) == (problem.code in NO_PATH or case["id"] == "env-06")


@pytest.mark.parametrize("case", having("warn"))
def test_a_warning_names_file_line_and_key(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for warning in load(case, tmp_path, monkeypatch).warnings:
        assert warning.file
        whole_file = warning.code == "W-DOCUMENTS"
        assert (warning.line is None) == (warning.path == ()) == whole_file


@pytest.mark.parametrize("case", having("warn"))
def test_a_configuration_is_accepted_with_a_warning(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings = "\n".join(map(str, load(case, tmp_path, monkeypatch).warnings))
    for text in case["warn"]:
        assert text in warnings


DOUBTFUL = {
    "def-03",  # healthCheckTimeout in a model
    "mac-08",  # a log level that is none
    "env-10",  # the same
}


@pytest.mark.parametrize(
    "case",
    [
        case
        for case in having("expect", "strip", "resolve", "expansions", "order")
        if "warn" not in case.values[0] and case.id not in DOUBTFUL
    ],
)
def test_nothing_is_warned_about_without_a_reason(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load(case, tmp_path, monkeypatch).warnings == ()


@pytest.mark.parametrize("case", having("resolve"))
def test_a_name_resolves_to(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = names_of(load(case, tmp_path, monkeypatch))
    for name, meaning in case["resolve"].items():
        assert names.local(name) == (meaning if meaning in names.models else None)
        assert (names.resolve(name) is None) == (meaning is None)


def names_of(loaded: Loaded) -> Names:
    config = loaded.config
    names = Names(frozenset(config.models), dict(config.aliases))
    for peer in config.peers.values():
        for model in peer.models:
            names.peer_models[f"{peer.id}/{model}"] = (peer.id, model)
            names.bare.setdefault(model, set()).add(f"{peer.id}/{model}")
    return names


@pytest.mark.parametrize("case", having("strip"))
def test_the_parameters_to_strip_are(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = load(case, tmp_path, monkeypatch).config.models
    actual = {name: list(models[name].filters.strip_params) for name in case["strip"]}
    assert actual == case["strip"]


@pytest.mark.parametrize("case", having("caps_empty"))
def test_capabilities_that_say_nothing_count_as_absent(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = load(case, tmp_path, monkeypatch).config.models
    actual = {name: models[name].capabilities is None for name in case["caps_empty"]}
    assert actual == case["caps_empty"]


@pytest.mark.parametrize("case", having("expansions", "order"))
def test_a_matrix_denotes(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = load(case, tmp_path, monkeypatch).config.routing.matrix
    assert matrix is not None
    trees, problems = matrix_dsl.parse_sets(matrix.sets)
    assert problems == []
    expanded = {name: expansion(trees[name], trees, matrix.vars) for name in trees}
    for name, expected in case.get("expansions", {}).items():
        assert expanded[name] == [set(models) for models in expected]
    if "order" in case:
        assert matrix_dsl.definition_order(trees) == case["order"]


def expansion(
    node: Node, trees: Mapping[str, Node], variables: Mapping[str, str]
) -> list[set[str]]:
    match node:
        case Name(name):
            return [{variables.get(name, name)}]
        case Reference(name):
            return expansion(trees[name], trees, variables)
        case OneOf(parts):
            return [models for part in parts for models in expansion(part, trees, variables)]
        case AllOf(parts):
            choices = product(*(expansion(part, trees, variables) for part in parts))
            return [set().union(*choice) for choice in choices]


@pytest.mark.parametrize("case", having("argv"))
def test_a_command_splits_into(case: Case) -> None:
    assert split_command(case["cmd"], windows=case.get("platform") == "windows") == case["argv"]


def test_a_command_of_blanks_and_comments_has_no_words() -> None:
    (case,) = (case for case in cases() if case.get("error") == "E-CMD-EMPTY")
    assert split_command(case["cmd"], windows=False) == []


def test_every_case_is_run_by_a_test_above() -> None:
    used = {"expect", "error", "warn", "resolve", "strip", "caps_empty", "expansions", "order"}
    assert all(used & set(case) or "argv" in case for case in cases())
    assert len(cases()) == 263
