"""The cases that are data, and whether none is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml


@cache
def cases_in(name: str) -> list[dict[str, Any]]:
    """The cases of one file beside this one."""
    text = Path(__file__).with_name(name).read_text("utf-8")
    loaded: list[dict[str, Any]] = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return loaded


def assert_none_is_missing(
    name: str, functions: Iterable[str], sections: Mapping[str, int]
) -> None:
    """Every case stands once: in the file, or as a function called `test_X01_…`.

    `sections`: how many cases each letter has; they are numbered from 01.
    """
    written = [case["id"] for case in cases_in(name)]
    written += [function.split("_")[1] for function in functions if function[5:6] in sections]
    wanted = [f"{letter}{n:02}" for letter, count in sections.items() for n in range(1, count + 1)]
    assert sorted(written) == sorted(wanted)
