"""One line of what `check` found out."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

Verdict = Literal["ok", "warn", "fail", "skip"]


@frozen
class Finding:
    """Something that was looked at."""

    topic: str
    verdict: Verdict
    text: str
    """What was found, and what to do about it."""
