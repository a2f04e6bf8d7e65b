"""The judgement of the dependency audit."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "packaging" / "audit.py"
judge = runpy.run_path(str(SCRIPT))["judge"]
CLEAN = {"name": "a", "version": "1", "vulns": []}
UNKNOWN = {"name": "b", "skip_reason": "not found"}
BROKEN = {"name": "c", "version": "2", "vulns": [{"id": "X-1", "fix_versions": ["3"]}]}


def test_nothing_known_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert judge([CLEAN]) == 0
    assert "NOT AUDITED" not in capsys.readouterr().out


def test_what_could_not_be_looked_up_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert judge([CLEAN, UNKNOWN]) == 0
    assert "NOT AUDITED: 1 of 2" in capsys.readouterr().out


def test_a_vulnerable_dependency_fails_and_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert judge([CLEAN, UNKNOWN, BROKEN]) == 1
    assert "c 2: X-1, fixed in 3" in capsys.readouterr().out
