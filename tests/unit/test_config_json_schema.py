"""The schema for editors: takes what the loader takes, refuses what it can express of the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from llamaswap.cli import main
from llamaswap.config.json_schema import json_schema
from llamaswap.config.kinds import read_anything
from llamaswap.config.problems import ConfigInvalid
from llamaswap.config.reader import keys_of
from llamaswap.config.sections import RootSection
from llamaswap.config.yaml12 import read_document
from tests.unit.test_config_cases import cases

VALIDATOR = jsonschema.Draft7Validator(json_schema())

EXPRESSIBLE = {
    "E-APIKEY-EMPTY", "E-APIKEY-SPACE", "E-FILE-TOP", "E-LOGSTDOUT", "E-MACRO-LEN", "E-MACRO-MAP",
    "E-MACRO-NAME", "E-MACRO-RESERVED", "E-MACRO-TYPE", "E-MODEL-CAPS", "E-MODEL-TTL",
    "E-MODEL-UNLOAD", "E-MX-COST", "E-MX-NOSETS", "E-MX-SETS", "E-MX-VARKEY", "E-PEER-MODELS",
    "E-PEER-PROXY", "E-PROF-EMPTY", "E-PROF-NAME", "E-PROF-PIN", "E-PROF-SHAPE",
    "E-ROUTE-UNKNOWN", "E-SCHED-UNKNOWN", "E-SEL-NAME", "E-SEL-STRAT", "E-SEL-TARGETS",
    "E-STARTPORT", "E-STORE-EMPTY", "E-TTL-GLOBAL", "E-TYPE", "E-UNLOAD-GLOBAL",
}  # fmt: skip
BEYOND = {
    "mac-19",  # what a macro stands for
    "mac-20",
    "env-07",  # what a variable stands for
    "env-12",
}


def files_of(case: dict[str, Any]) -> Iterator[str]:
    if "config" in case:
        yield case["config"]
    for name, text in case.get("files", {}).items():
        if name.endswith((".yaml", ".yml")):
            yield text


def documents(case: dict[str, Any]) -> Iterator[Any]:
    """The content of each file that can be parsed before variables are put in."""
    for text in files_of(case):
        try:
            root = read_document(text, "case").root
        except ConfigInvalid:
            continue
        yield None if root is None else read_anything(root)


def accepted(case: dict[str, Any]) -> bool:
    return all(VALIDATOR.is_valid(document) for document in documents(case))


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case["id"]) for case in cases() if "error" not in case]
)
def test_what_the_loader_takes_is_valid(case: dict[str, Any]) -> None:
    assert [error.message for doc in documents(case) for error in VALIDATOR.iter_errors(doc)] == []


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case["id"])
        for case in cases()
        if case.get("error") in EXPRESSIBLE and case["id"] not in BEYOND
    ],
)
def test_what_the_loader_refuses_for_its_form_is_invalid(case: dict[str, Any]) -> None:
    assert not accepted(case)


@pytest.mark.parametrize(
    "document",
    [
        {"startPort": "${p}", "sendLoadingState": "on", "globalTTL": 3.5},
        {"models": {"a": None, "b": {"ttl": "${t}", "env": [None, "A=1"], "name": 7}}},
        {"performance": {"every": "1m30.5s"}, "store": None, "x-shared": [1]},
        {"routing": {"router": {"use": "group", "settings": {"matrix": {}}}}},
        {"macros": {"a": 1, "${env.X}": True}},
    ],
)
def test_the_liberties_of_the_loader_are_valid(document: Any) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(document)] == []


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft7Validator.check_schema(json_schema())


def test_every_key_of_every_section_is_described() -> None:
    schema = json_schema()
    assert set(schema["properties"]) == set(keys_of(RootSection))
    for section in [schema, *schema["definitions"].values()]:
        assert section["description"]
        assert all(key["description"] for key in section["properties"].values())


def test_the_command_prints_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config-schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema()
