"""What swaps and answers take, learned from what happened: seconds, percentiles, never means.

A mean is spoiled by one load from a cold disk; the middle of the last few is not.
Source: scheduling §2 rule 8.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field, frozen

SAMPLES = 20
"""How many observations of a kind are kept per model: enough for a middle, few enough to forget."""
ENOUGH_PAUSES = 4
PAUSE_QUANTILE = 0.8
RATE_WINDOW = 60.0
"""Seconds over which a model's request rate is taken."""


@frozen(kw_only=True)
class Expected:
    """What is assumed of a model of which nothing has been seen; seconds."""

    load: float = 10.0
    unload: float = 1.0
    service: float = 5.0


Snapshot = dict[str, dict[str, list[float]]]
"""`{model: {"load" | "unload" | "service": [seconds, oldest first]}}`; plain JSON."""


@define
class _Samples:
    """The last few observations of one thing, and their middle."""

    seen: deque[float] = field(factory=lambda: deque(maxlen=SAMPLES))
    _middle: float | None = None

    def note(self, seconds: float) -> None:
        self.seen.append(seconds)
        self._middle = None

    def middle(self) -> float:
        if self._middle is None:
            self._middle = sorted(self.seen)[len(self.seen) // 2]
        return self._middle


@define
class _Model:
    """All that is known of one model."""

    expected: Expected
    load: _Samples = field(factory=_Samples)
    unload: _Samples = field(factory=_Samples)
    service: _Samples = field(factory=_Samples)
    pauses: deque[float] = field(factory=lambda: deque(maxlen=SAMPLES))
    """Seconds from the end of the last answer to the next request, whether it was kept or not."""
    idle_since: float | None = None
    long_pause: float | None = None
    arrivals: float = 0.0
    """Arrivals per window, fading: e-fold in RATE_WINDOW seconds."""
    last_arrival: float = 0.0


@define
class Costs:
    """Learned numbers of all models. One scheduler writes and reads it; pure."""

    expected: Mapping[str, Expected] = field(factory=dict)
    """By model, where an operator or a file's size tells something."""
    _models: dict[str, _Model] = field(factory=dict)

    def expect(self, expected: Mapping[str, Expected]) -> None:
        """Take new assumptions; what was observed stays."""
        self.expected = expected
        for model, known in self._models.items():
            known.expected = expected.get(model, Expected())

    def load(self, model: str) -> float:
        """Seconds from the start of the process to ready."""
        known = self._of(model)
        return known.load.middle() if known.load.seen else known.expected.load

    def unload(self, model: str) -> float:
        """Seconds from the wish to stop to the end of the process."""
        known = self._of(model)
        return known.unload.middle() if known.unload.seen else known.expected.unload

    def service(self, model: str) -> float:
        """Seconds from grant to release."""
        known = self._of(model)
        return known.service.middle() if known.service.seen else known.expected.service

    def rate(self, model: str, now: float) -> float:
        """Requests per second that came for the model lately."""
        known = self._of(model)
        faded = known.arrivals * math.exp((known.last_arrival - now) / RATE_WINDOW)
        return faded / RATE_WINDOW

    def swap(self, evict: Sequence[str], target: str) -> float:
        """Seconds until `target` is ready once `evict` may go: stops side by side, then the load.

        0 for what is ready already cannot be known here; the caller knows states.
        """
        return max((self.unload(victim) for victim in evict), default=0.0) + self.load(target)

    def exchange(self, victim: str, newcomer: str) -> float:
        """Seconds that going from `victim` to `newcomer` and back again costs: D of the rules."""
        return self.unload(victim) + self.load(newcomer) + self.unload(newcomer) + self.load(victim)

    def note_arrival(self, model: str, now: float) -> None:
        """Count a request."""
        known = self._of(model)
        fade = math.exp((known.last_arrival - now) / RATE_WINDOW)
        known.arrivals = known.arrivals * fade + 1.0
        known.last_arrival = now
        if known.idle_since is not None:
            known.pauses.append(now - known.idle_since)
            known.idle_since = known.long_pause = None

    def note_idle(self, model: str, now: float) -> None:
        """The last answer for the model has ended: a pause begins."""
        self._of(model).idle_since = now

    def pause(self, model: str) -> float | None:
        """Seconds within which the model is mostly asked for again. None: too little was seen.

        A quantile: one long break between many short pauses says nothing about the next pause.
        """
        known = self._of(model)
        if len(known.pauses) < ENOUGH_PAUSES:
            return None
        if known.long_pause is None:
            ordered = sorted(known.pauses)
            known.long_pause = ordered[int(PAUSE_QUANTILE * len(ordered))]
        return known.long_pause

    def note_load(self, model: str, seconds: float) -> None:
        """Learn from a start that succeeded."""
        self._of(model).load.note(seconds)

    def note_unload(self, model: str, seconds: float) -> None:
        """Learn from a stop."""
        self._of(model).unload.note(seconds)

    def note_service(self, model: str, seconds: float) -> None:
        """Learn from an answer."""
        self._of(model).service.note(seconds)

    # --- across restarts --------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """What is worth keeping: observed seconds; rates fade within minutes anyway."""
        return {
            model: {
                kind: [round(seconds, 3) for seconds in samples.seen]
                for kind, samples in (
                    ("load", known.load),
                    ("unload", known.unload),
                    ("service", known.service),
                )
                if samples.seen
            }
            for model, known in self._models.items()
            if known.load.seen or known.unload.seen or known.service.seen
        }

    def restore(self, snapshot: Any) -> None:
        """Take over what an earlier run learned; what is not a Snapshot is left out."""
        if not isinstance(snapshot, dict):
            return
        for model, kinds in snapshot.items():
            if not isinstance(model, str) or not isinstance(kinds, dict):
                continue
            known = self._of(model)
            for kind, samples in (
                ("load", known.load),
                ("unload", known.unload),
                ("service", known.service),
            ):
                for seconds in _plausible(kinds.get(kind)):
                    samples.note(seconds)

    def _of(self, model: str) -> _Model:
        known = self._models.get(model)
        if known is None:
            known = self._models[model] = _Model(self.expected.get(model, Expected()))
        return known


def _plausible(values: object) -> list[float]:
    if not isinstance(values, list):
        return []
    return [
        float(value)
        for value in values
        if type(value) in (int, float) and math.isfinite(value) and value >= 0
    ][-SAMPLES:]
