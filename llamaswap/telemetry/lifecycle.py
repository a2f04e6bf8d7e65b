"""What became of every model lately: a ring of state changes, load times, the last failure.

For people who look back: the residency timeline, the feed of events, facts about a model.
Source: web-ui §0.1 (lifecycle history, model facts), §1.2.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Sequence

from attrs import define, field, frozen

KEPT = 5_000
LOADS = 5


@frozen
class Transition:
    """A model went to `state` at `time` (s since 1970). `reason`: why, where there is one."""

    time: float
    model: str
    state: str
    reason: str = ""
    failed: bool = False
    """Whether its life did not begin, or ended by itself."""
    exit_code: int | None = None


@define
class _Record:
    since: float
    loads: deque[float] = field(factory=lambda: deque(maxlen=LOADS))
    failure: Transition | None = None


@define(eq=False)
class Lifecycle:
    """Remembers the last 5,000 changes. Event loop only."""

    _kept: deque[Transition] = field(factory=lambda: deque(maxlen=KEPT), init=False)
    _records: dict[str, _Record] = field(factory=dict, init=False)

    def note(self, change: Transition, before: str) -> None:
        """Remember that a model went from `before` to what `change` says."""
        self._kept.append(change)
        record = self._records.setdefault(change.model, _Record(change.time))
        if before == "starting" and change.state == "ready":
            record.loads.append(change.time - record.since)
            record.failure = None
        elif change.state == "starting":
            record.failure = None
        elif change.failed:
            record.failure = change
        record.since = change.time

    def latest(self, limit: int = KEPT) -> Sequence[Transition]:
        """The last `limit` changes, oldest first."""
        kept = tuple(self._kept)
        return kept[-limit:] if limit > 0 else ()

    def since(self, model: str) -> float | None:
        """When the model came into its state; None: it never left the first."""
        record = self._records.get(model)
        return None if record is None else record.since

    def usual_load(self, model: str) -> float | None:
        """The median of its last five loads, s."""
        record = self._records.get(model)
        return statistics.median(record.loads) if record is not None and record.loads else None

    def failure(self, model: str) -> Transition | None:
        """Its last failure, unless it was started since."""
        record = self._records.get(model)
        return None if record is None else record.failure
