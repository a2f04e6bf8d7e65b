"""A start imports what it needs, and nothing else. Figures: docs/benchmarks.md."""

from __future__ import annotations

import subprocess
import sys

import pytest

from llamaswap.telemetry.gpu import nvml

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


def test_without_a_driver_nothing_is_imported_for_it() -> None:
    """pynvml takes 3 MB of an idle program."""
    script = """
import sys
from llamaswap.telemetry.gpu import nvml
from llamaswap.telemetry.hardware import nvidia
nvml.is_there = lambda library: False
for question in (nvml.open_library, nvidia.by_nvml):
    try:
        question()
    except nvml.SourceFailed as exc:
        assert "Shared Library Not Found" in str(exc), exc
    else:
        raise AssertionError
"""
    found = imported_by(script)
    assert "llamaswap.telemetry.gpu.nvml" in found
    assert "pynvml" not in found


def test_a_library_is_there_if_the_system_can_load_it() -> None:
    assert nvml.is_there("libc.so.6" if sys.platform == "linux" else "libc.dylib")
    assert not nvml.is_there("libno-such-library.so.1")
