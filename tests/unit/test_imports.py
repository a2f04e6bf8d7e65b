"""A start imports what it needs, and nothing else. Figures: docs/benchmarks.md."""

from __future__ import annotations

import subprocess
import sys

import pytest

SLOW = ("quart", "flask", "hypercorn", "jinja2", "httpx", "pynvml", "asyncio", "cattrs")


def imported_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_data_plane_starts_without_what_only_others_need() -> None:
    assert imported_by("import llamaswap.cli, llamaswap.app").isdisjoint(SLOW)


@pytest.mark.parametrize("module", ["trio", "llamaswap.app", "yaml"])
def test_the_command_line_is_read_without_the_program(module: str) -> None:
    assert module not in imported_by("import llamaswap.cli")


def test_loading_a_configuration_needs_no_event_loop() -> None:
    found = imported_by("import llamaswap.config.load, llamaswap.config.report")
    assert found.isdisjoint({*SLOW, "trio"})
