"""Every configuration case and every program-level case has its place. Source: config part 7."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.unit.test_config_cases import cases

INTEGRATION = Path(__file__).parents[1] / "integration"
HOW_MANY = {
    "def": 11, "type": 21, "mac": 44, "port": 10, "env": 14, "dir": 24, "top": 18, "mod": 20,
    "grp": 18, "mx": 25, "peer": 11, "sel": 18, "prof": 6, "argv": 23,
}  # fmt: skip
"""Cases by the subject in their id; they are numbered from 01."""

PROGRAM, LINE = "test_program.py", "test_command_line.py"
RELOAD, WATCHING = "test_reload.py", "test_watching.py"
PROGRAM_CASES = {
    "cli-01": (PROGRAM, "test_version_wins_over_everything"),
    # a deliberate difference: without a source the built-in demo runs
    "cli-02": (PROGRAM, "test_the_embedded_default_loads_streams_and_swaps"),
    "cli-03": (LINE, "test_a_command_line_that_makes_no_sense_exits_2_with_usage_on_stderr"),
    "cli-04": (PROGRAM, "test_help_is_on_stderr"),
    "cli-05": (LINE, "test_the_last_of_repeated_flags_wins"),
    "cli-06": (LINE, "test_flags_end_at_the_first_word_that_is_none"),
    "cli-07": (LINE, "test_flags_end_at_the_first_word_that_is_none"),
    "cli-08": (LINE, "test_tls_flags_are_checked_before_the_configuration_is_read"),
    "cli-09": (LINE, "test_what_cannot_listen_starts_no_model"),
    "cli-10": (LINE, "test_a_configuration_that_cannot_be_used_exits_1_and_says_why"),
    "cli-11": (PROGRAM, "test_a_stop_signal_ends_it_in_order"),
    "cli-12": (PROGRAM, "test_a_second_signal_kills_at_once"),
    "rel-01": (RELOAD, "test_added_models_are_listed_and_start"),
    "rel-02": (RELOAD, "test_a_bad_file_changes_nothing_and_is_reported_everywhere"),
    "rel-03": (RELOAD, "test_a_reload_without_any_change_stops_nothing"),
    "rel-04": (RELOAD, "test_a_changed_model_finishes_its_requests_before_its_successor_starts"),
    "rel-05": (RELOAD, "test_a_new_model_waits_until_what_it_may_replace_is_gone"),
    "rel-06": (RELOAD, "test_two_signals_in_a_row_end_with_the_newest_file"),
    "rel-07": (RELOAD, "test_log_settings_are_applied_live"),
    "rel-08": (RELOAD, "test_a_bad_file_changes_nothing_and_is_reported_everywhere"),
    "wat-01": (WATCHING, "touched_and_resized"),
    "wat-02": (WATCHING, "touched_and_resized"),
    "wat-03": (WATCHING, "nothing_that_matters_changes"),
    "wat-04": (WATCHING, "removed_and_written_again"),
    "wat-05": (WATCHING, "links_swapped"),
    "wat-06": (WATCHING, "directory_members_change"),
    "wat-07": (WATCHING, "nothing_that_matters_changes"),
    "wat-08": (WATCHING, "directory_goes_and_comes"),
    "wat-09": (WATCHING, "truncated"),
    "wat-10": (WATCHING, "broken_then_good"),
}


def numbered(subject: str, count: int) -> list[str]:
    return [f"{subject}-{number:02}" for number in range(1, count + 1)]


def test_every_configuration_case_stands_in_the_data_file_once() -> None:
    wanted = [name for subject, count in HOW_MANY.items() for name in numbered(subject, count)]
    assert sorted(case["id"] for case in cases()) == sorted(wanted)
    assert len(wanted) == 263


def test_every_program_level_case_is_named() -> None:
    wanted = [*numbered("cli", 12), *numbered("rel", 8), *numbered("wat", 10)]
    assert list(PROGRAM_CASES) == wanted


@cache
def functions_of(file: str) -> frozenset[str]:
    tree = ast.parse((INTEGRATION / file).read_text(encoding="utf-8"))
    return frozenset(
        node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)
    )


@pytest.mark.parametrize("case", PROGRAM_CASES)
def test_the_test_of_a_program_level_case_exists(case: str) -> None:
    file, name = PROGRAM_CASES[case]
    assert name in functions_of(file)
