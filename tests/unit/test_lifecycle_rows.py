"""Every row of the table of process life has its test. Source: lifecycle §5.7."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

INTEGRATION = Path(__file__).parents[1] / "integration"
UPSTREAM, SUPERVISOR, PROXY = "test_upstream.py", "test_supervisor.py", "test_proxy.py"

ROWS = {
    "R01": (UPSTREAM, "test_normal_life_passes_through_four_states"),
    "R02": (UPSTREAM, "test_without_a_check_it_is_ready_at_spawn_even_if_the_command_then_fails"),
    "R03": (UPSTREAM, "test_a_command_that_exits_while_starting_fails_the_start_at_once"),
    "R04": (UPSTREAM, "test_ready_means_that_the_health_endpoint_said_200"),
    "R05": (UPSTREAM, "test_a_server_that_never_gets_healthy_is_stopped"),
    "R06": (UPSTREAM, "test_a_probe_that_hangs_does_not_outlive_the_deadline"),
    "R07": (UPSTREAM, "test_stop_while_starting_aborts_with_the_callers_grace"),
    "R08": (UPSTREAM, "test_one_that_ignores_sigterm_is_killed_when_its_grace_is_over"),
    "R09": (UPSTREAM, "test_the_grace_is_honoured"),
    "R10": (UPSTREAM, "test_grace_zero_kills_at_once"),
    "R11": (UPSTREAM, "test_the_earliest_deadline_of_all_stoppers_rules"),
    "R12": (UPSTREAM, "test_a_failing_cmd_stop_falls_back_to_sigterm_at_once"),
    "R13": (UPSTREAM, "test_descendants_are_gone_when_stopped_is_published"),
    "R14": (UPSTREAM, "test_descendants_are_gone_when_stopped_is_published"),
    "R15": (UPSTREAM, "test_what_a_crashed_wrapper_leaves_behind_is_killed"),
    "R16": (UPSTREAM, "test_start_while_stopping_waits_and_starts_a_fresh_process"),
    "R17": (SUPERVISOR, "test_an_idle_model_is_unloaded_after_its_ttl_and_not_before"),
    "R18": (SUPERVISOR, "test_traffic_keeps_a_model_beyond_its_ttl"),
    "R19": ("test_program.py", "test_an_ignored_websocket_does_not_hold_the_ttl"),
    "R20": (SUPERVISOR, "test_the_ttl_of_a_model_nobody_used_runs_from_ready"),
    "R21": (UPSTREAM, "test_shutdown_while_a_probe_hangs_is_prompt"),
    "R22": (UPSTREAM, "test_ensure_ready_on_ready_returns_and_after_shutdown_raises"),
    "R23": (PROXY, "test_a_response_that_breaks_off_is_visibly_cut"),
}


@cache
def functions_of(file: str) -> frozenset[str]:
    tree = ast.parse((INTEGRATION / file).read_text(encoding="utf-8"))
    return frozenset(
        node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)
    )


def test_no_row_is_left_out() -> None:
    assert list(ROWS) == [f"R{number:02}" for number in range(1, 24)]


@pytest.mark.parametrize("row", ROWS)
def test_the_test_of_a_row_exists(row: str) -> None:
    file, name = ROWS[row]
    assert name in functions_of(file)
