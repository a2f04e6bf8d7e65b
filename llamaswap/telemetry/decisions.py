"""The scheduler's latest decisions, for people who ask why. Source: scheduling §2.10."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from attrs import define, field

from llamaswap.telemetry.bus import DecisionMade

KEPT = 1_000


@define
class Decisions:
    """A ring of the last 1,000. Event loop only."""

    _kept: deque[DecisionMade] = field(factory=lambda: deque(maxlen=KEPT), init=False)

    def add(self, decision: DecisionMade) -> None:
        """Remember `decision`; the oldest goes when there is no room."""
        self._kept.append(decision)

    def latest(self, limit: int = KEPT) -> Sequence[DecisionMade]:
        """The last `limit`, oldest first."""
        kept = tuple(self._kept)
        return kept[-limit:] if limit > 0 else ()
