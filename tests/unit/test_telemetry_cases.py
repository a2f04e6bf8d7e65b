"""No case of events and of the activity store is missing. Source: telemetry part 9."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
WANTED = {13, 43, 44, *range(84, 98)}


def test_no_case_of_events_and_of_the_store_is_missing() -> None:
    written = {
        int(number)
        for path in TESTS.rglob("test_*.py")
        if "http_cases" not in path.parts
        for number in re.findall(r"def test_T(\d+)_", path.read_text("utf-8"))
    }
    assert written >= WANTED
