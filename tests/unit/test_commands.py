"""Words on the command line. Source: telemetry §7, issue: commands."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from llamaswap.cli import main
from llamaswap.commands.arguments import Argument, Flag, Line, parse_duration
from llamaswap.commands.dispatch import command_module
from llamaswap.commands.table import COMMANDS
from llamaswap.flags import UsageError

LINE = Line(
    name="try",
    summary="Try it.",
    flags=(
        Flag("url", "URL", "where", default="http://x", environ="SOME_URL"),
        Flag("json", "", "as JSON"),
        Flag("n", "N", "how many", default="1"),
        Flag("sort", "KEY", "by what", default="a", choices=("a", "b")),
    ),
    arguments=(Argument("MODEL", "which"), Argument("OTHER", "more", required=False)),
)


@pytest.mark.parametrize(
    "words",
    [
        ["-url", "u", "m", "-json"],
        ["--url=u", "-json=true", "m"],
        ["m", "--json", "--url", "u"],
        ["-json", "-url=u", "--", "m"],
    ],
)
def test_every_spelling_and_order_is_equal(words: list[str]) -> None:
    given = LINE.read(words, {})
    assert (given.text("url"), given.on("json"), given.argument()) == ("u", True, "m")


def test_the_environment_stands_in_for_a_flag_and_the_default_for_both() -> None:
    assert LINE.read(["m"], {"SOME_URL": "e"}).text("url") == "e"
    assert LINE.read(["m", "-url", "f"], {"SOME_URL": "e"}).text("url") == "f"
    assert LINE.read(["m"], {"SOME_URL": ""}).text("url") == "http://x"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "MODEL is missing"),
        (["a", "b", "c"], "unexpected argument 'c'"),
        (["m", "-ur", "x"], "there is no flag -ur"),
        (["m", "-url"], "flag needs an argument: -url"),
        (["m", "-json=perhaps"], "invalid boolean value 'perhaps' for -json"),
        (["m", "-sort", "z"], "-sort must be one of a, b"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_explained(words: list[str], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        LINE.read(words, {})
    assert str(caught.value) == says


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "x", ""])
def test_counts_are_checked(text: str) -> None:
    with pytest.raises(UsageError, match="whole number from 1 on"):
        LINE.read(["m", f"-n={text}"], {"x": ""}).count("n")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("1m30s", 90), ("500ms", 0.5), ("0", 0), ("1.5h", 5400)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration("t", text) == seconds


@pytest.mark.parametrize("text", ["", "5", "s", "1m 30s", "-5s", "1d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="-t must be a duration"):
        parse_duration("t", text)


@pytest.mark.parametrize("word", COMMANDS)
def test_every_command_can_be_run_and_explained(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(command_module(word).run)
    assert main(["help", word]) == 0
    assert word in capsys.readouterr().out


@pytest.mark.parametrize("flag", ["-h", "-help", "--help"])
def test_help_is_a_flag_too(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", flag]) == 0
    shown = capsys.readouterr().out
    assert "Usage: python -m llamaswap status [flags]" in shown
    assert "LLAMASWAP_URL" in shown


def test_help_lists_every_command_and_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {word} " in shown for word in COMMANDS)
    assert "-watch-config" in shown
    assert "Exit codes" in shown


def test_a_word_that_is_no_command_is_refused_with_a_suggestion(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["hlep"]) == 2
    assert "did you mean 'help'?" in capsys.readouterr().err


def test_a_usage_error_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "one", "two"]) == 2
    assert "unexpected argument 'two'" in capsys.readouterr().err


def test_the_server_does_not_import_the_commands() -> None:
    code = (
        "import sys; from llamaswap.cli import main; main(['-version']);"
        "print([name for name in sys.modules if name.startswith('llamaswap.commands')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_table_of_commands_imports_nothing() -> None:
    source = Path(command_module("help").__file__ or "").with_name("table.py").read_text()
    imports = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert imports == ["from __future__ import annotations"]
