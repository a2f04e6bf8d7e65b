"""`python -m llamaswap simulate`: what it takes, what it prints, what it refuses."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

import pytest

from llamaswap.commands.dispatch import run_command

CONFIG = """
models:
  coder:
    cmd: server
    proxy: http://localhost:1
    aliases: [gpt]
    metadata: {load_seconds: 20, unload_seconds: 2, slots: 2}
  writer:
    cmd: server
    proxy: http://localhost:2
"""
TRACE = """
{"id": "r1", "t": 0, "model": "gpt", "service": 4, "client": "x"}

{"id": "r2", "t": 1, "model": "writer", "service": 3}
{"after": "r1", "think": 0.5, "model": "coder", "service": 4}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "trace.jsonl").write_text(TRACE)
    return tmp_path


def simulate(folder: Path, *more: str, trace: str = "trace.jsonl") -> int:
    arguments = ["-config", str(folder / "config.yaml"), "-trace", str(folder / trace)]
    return run_command("simulate", [*arguments, *more])


def test_a_trace_is_played_with_the_costs_of_the_metadata(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(folder, "-json", "-scheduler", "fifo") == 0
    [run] = json.loads(capsys.readouterr().out)
    assert run["done"] == 3
    # coder loads 20 s, serves 4; stops in 2; writer loads 10, serves 3; stops in 1; coder again
    assert run["models"]["coder"]["worst"] == pytest.approx(24 + 2 + 10 + 3 + 1 + 20 - 24.5)
    assert run["models"]["writer"]["mean"] == pytest.approx(24 + 2 + 10 - 1)
    assert run["promise"]["kept"]


def test_costs_come_from_the_command_line_or_from_what_was_learned(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "costs.json").write_text('{"writer": {"load": [7, 7, 7]}}')
    learned = ["-learned", str(folder / "costs.json")]
    assert simulate(folder, "-json", "-scheduler", "fifo", *learned, "-costs", "coder=1/0/1") == 0
    [run] = json.loads(capsys.readouterr().out)
    assert run["models"]["writer"]["mean"] == pytest.approx(1 + 4 + 0 + 7 - 1)


def test_the_table_names_every_scheduler_and_model(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(folder) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("coder", "writer", "fifo"))


def test_a_chart_is_well_formed(folder: Path) -> None:
    path = folder / "chart.svg"
    assert simulate(folder, "-chart", str(path), "-json") == 0
    root = ElementTree.parse(path).getroot()
    texts = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"coder", "writer", "trace: fifo", "trace: batch"} <= set(texts)
    assert len(list(root.iter("{http://www.w3.org/2000/svg}rect"))) > 6


def test_recorded_activity_is_played_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "activity.db"
    with closing(sqlite3.connect(path)) as store:
        store.execute(
            "CREATE TABLE activity (id INTEGER PRIMARY KEY, ts_created, model_id, duration_ms,"
            " input_tokens, cache_tokens, output_tokens, prompt_per_second, tokens_per_second)"
        )
        rows = [
            (1, 1_000, "coder", 30_000, 100, 0, 50, 100.0, 10.0),  # 6 s of work
            (2, 1_010, "writer", 5_000, 0, -1, 0, -1.0, -1.0),
            (3, 1_020, "long gone", 5_000, 0, -1, 0, -1.0, -1.0),
        ]
        store.executemany("INSERT INTO activity VALUES (?,?,?,?,?,?,?,?,?)", rows)
        store.commit()
    arguments = ["-config", str(folder / "config.yaml"), "-from-activity", str(path), "-json"]
    assert run_command("simulate", [*arguments, "-scheduler", "fifo"]) == 0
    told = capsys.readouterr()
    [run] = json.loads(told.out)
    assert run["done"] == 2
    assert "left out: 1 requests" in told.err
    assert run["loading"] == 30
    assert run["makespan"] == 35 + 2 + 10 + 5  # the second came 35 s after the first


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "bad.jsonl:1"),
        ('{"t": 0, "model": "nobody", "service": 1}', "no model 'nobody'"),
        ('{"t": 0, "model": "coder"}', "service"),
        ('{"t": -1, "model": "coder", "service": 1}', "t must be seconds"),
        ('{"model": "coder", "service": 1}', "either t or after"),
        ('{"t": 0, "after": "x", "model": "coder", "service": 1}', "either t or after"),
        ('{"after": "x", "model": "coder", "service": 1}', "not above it"),
        ('{"t": 0, "model": "coder", "service": 1, "servise": 2}', "servise"),
    ],
)
def test_a_bad_line_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], line: str, words: str
) -> None:
    (folder / "bad.jsonl").write_text(line)
    assert simulate(folder, trace="bad.jsonl") == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "-scenario NAME"),
        (["-scenario", "nothing"], "nothing"),
        (["-scenario", "three-chats", "-seeds", "x"], "-seeds"),
        (["-scenario", "three-chats", "-scheduler", "best"], "best"),
        (["-config", "{config}"], "-trace"),
        (["-config", "{config}", "-trace", "{trace}", "-costs", "nobody=1"], "nobody=1"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_explained(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    places = {"config": str(folder / "config.yaml"), "trace": str(folder / "trace.jsonl")}
    assert run_command("simulate", [word.format(**places) for word in arguments]) == 2
    assert words in capsys.readouterr().err


def test_a_scenario_is_played_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["-scenario", "single-model", "-seeds", "6", "-json"]
    assert run_command("simulate", arguments) == 0
    runs = json.loads(capsys.readouterr().out)
    assert [run["scheduler"] for run in runs] == ["fifo", "batch"]
    assert {run["swaps"] for run in runs} == {1}
