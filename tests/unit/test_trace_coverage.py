"""Every worked trace of lifecycle §5.1–5.6 and §5.8 is a test that bears its number."""

from __future__ import annotations

import re
from types import ModuleType

from tests.unit import test_fifo, test_groups, test_matrix

SECTIONS = {"S": 14, "C": 6, "L": 5, "P": 6, "U": 10, "X": 3, "T": 4, "Q": 2, "G": 16, "M": 17,
            "D": 4}  # fmt: skip
WANTED = {f"{letter}{n:02}" for letter, last in SECTIONS.items() for n in range(1, last + 1)}


def in_names(module: ModuleType) -> set[str]:
    """Tests that are called `test_m16_…`."""
    found = (re.match(r"test_([a-z]\d\d)_", name) for name in vars(module))
    return {match[1].upper() for match in found if match}


def test_all_traces_are_played() -> None:
    played = {row[0].split()[0] for row in test_fifo.TRACES}
    played |= {row[0] for row in test_fifo.OTHER_STATES}
    played |= {row[0] for row in test_matrix.QUERIES}
    played |= {row[0] for row in test_matrix.SCHEDULED}
    for module in (test_fifo, test_groups, test_matrix):
        played |= in_names(module)
    assert played >= WANTED, sorted(WANTED - played)
    assert len(WANTED) == 87
