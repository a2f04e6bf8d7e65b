"""The container file: linted, and its promises read out of it. It is not built here."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llamaswap.flags import parse_flags

FILE = Path(__file__).parents[2] / "packaging" / "container" / "Containerfile"
HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which(
    "hadolint"
)


def instruction(name: str) -> str:
    """The last instruction of that name, continued lines joined."""
    text = re.sub(r"\\\n\s*", "", FILE.read_text())
    return str(re.findall(rf"^{name} (.*)$", text, re.MULTILINE)[-1]).strip()


@pytest.mark.skipif(HADOLINT is None, reason="hadolint has no build for this system")
def test_the_linter_has_nothing_to_say() -> None:
    assert HADOLINT is not None
    done = subprocess.run([HADOLINT, FILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_process_1_reaps_and_forwards_signals() -> None:
    assert json.loads(instruction("ENTRYPOINT")) == ["tini", "--", "llamaswap"]
    assert instruction("STOPSIGNAL") == "SIGTERM"


def test_the_default_arguments_are_those_of_the_images_people_have() -> None:
    options = parse_flags(json.loads(instruction("CMD")))
    assert options.config == "/etc/llama-swap/config/config.yaml"
    assert options.listen == "0.0.0.0:8080"
    assert options.watch_config
    assert instruction("WORKDIR") == "/models"


def test_it_does_not_run_as_root_unless_told() -> None:
    assert instruction("USER") == "${RUN_AS}"
    assert "ARG RUN_AS=10001:10001" in FILE.read_text()


def test_its_health_check_asks_the_route_that_needs_no_key() -> None:
    assert "/health" in instruction("HEALTHCHECK")
