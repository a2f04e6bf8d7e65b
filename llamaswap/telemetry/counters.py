"""What happened since the start, counted for Prometheus: requests, tokens, swaps, loads, stops.

Stands before the observer that keeps the books and counts what passes; each call returns at once
and is O(1). Source: telemetry §3.1.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from attrs import define, field

from llamaswap.config.schema import Config
from llamaswap.telemetry.exposition import Histogram
from llamaswap.telemetry.observation import Ending, Observation, Observer, Outcome

WAITS = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
LOADS = (0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600)
DURATIONS = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
"""Bounds of the histograms, in seconds."""
OTHER = "(other)"
"""Stands for every model that is not configured: clients may send any name."""
CLIENT_LEFT = 499


@define(eq=False)
class Counters:
    """The tallies. Event loop only."""

    offered: Callable[[str], bool]
    """Whether a name that is no local model is one of a peer's."""
    clock: Callable[[], float] = time.monotonic
    requests: Counter[tuple[str, int]] = field(factory=Counter, init=False)
    """By model and status."""
    tokens: Counter[tuple[str, str]] = field(factory=Counter, init=False)
    """By model and `input`, `output` or `cached`."""
    swaps: Counter[tuple[str, str]] = field(factory=Counter, init=False)
    """By the model that is loaded and why."""
    stops: Counter[tuple[str, str]] = field(factory=Counter, init=False)
    """By model and why."""
    failed_loads: Counter[str] = field(factory=Counter, init=False)
    waits: dict[str, Histogram] = field(factory=dict, init=False)
    """From a request's arrival until its model is granted."""
    durations: dict[str, Histogram] = field(factory=dict, init=False)
    """From a request's arrival to the end of its answer."""
    loads: dict[str, Histogram] = field(factory=dict, init=False)
    """From the start of a process until it is ready."""
    under_way: dict[Observation, str] = field(factory=dict, init=False)
    """Label of every request that is not over."""
    _starting: dict[str, float] = field(factory=dict, init=False)

    # --- requests ---------------------------------------------------------------------------------

    def begin(self, observation: Observation) -> None:
        """A request has named a model."""
        known = observation.local or self.offered(observation.model)
        self.under_way[observation] = observation.model if known else OTHER

    def granted(self, observation: Observation) -> None:
        """It holds its model."""
        if observation.granted_at is not None:
            waited = observation.granted_at - observation.began
            _observe(self.waits, self.under_way[observation], WAITS, waited)

    def finished(self, observation: Observation, ending: Ending) -> None:
        """It is over."""
        model = self.under_way.pop(observation, None)
        if model is None:
            return
        self.requests[model, _status(ending)] += 1
        _observe(self.durations, model, DURATIONS, ending.duration)

    def used(self, model: str, *, fresh: int, cached: int, output: int) -> None:
        """An answer told its tokens: of the prompt, those the cache spared, those generated."""
        if fresh > 0:
            self.tokens[model, "input"] += fresh
        if cached > 0:
            self.tokens[model, "cached"] += cached
        if output > 0:
            self.tokens[model, "output"] += output

    def inflight(self) -> Counter[str]:
        """Requests that hold their model, by model."""
        return Counter(m for o, m in self.under_way.items() if o.granted_at is not None)

    def queued(self) -> Counter[str]:
        """Requests that wait for their model, by model."""
        return Counter(m for o, m in self.under_way.items() if o.granted_at is None)

    # --- models -----------------------------------------------------------------------------------

    def swapped(self, model: str, *, evicting: bool) -> None:
        """A model is going to be loaded; whether others have to stop for it."""
        self.swaps[model, "evict" if evicting else "free"] += 1

    def state_changed(self, model: str, state: str, reason: str) -> None:
        """A model's process went to `state`; `reason`: why it stopped, if it has."""
        began = self._starting.pop(model, None)
        if state == "starting":
            self._starting[model] = self.clock()
        elif state == "ready" and began is not None:
            _observe(self.loads, model, LOADS, self.clock() - began)
        elif began is not None:
            self.failed_loads[model] += 1
        if state == "stopped" and reason:
            self.stops[model, reason] += 1


@define(eq=False)
class CountingObserver:
    """Counts what passes, then lets another observer see it."""

    counters: Counters
    inner: Observer | None = None

    def begin(self, observation: Observation) -> None:
        """A request has named a model."""
        self.counters.begin(observation)
        if self.inner is not None:
            self.inner.begin(observation)
        else:
            observation.keep = False  # nobody looks at the body

    def granted(self, observation: Observation) -> None:
        """It holds its model."""
        self.counters.granted(observation)
        if self.inner is not None:
            self.inner.granted(observation)

    def answered(self, observation: Observation) -> None:
        """Its response head went out."""
        if self.inner is not None:
            self.inner.answered(observation)

    def overfull(self, observation: Observation) -> None:
        """Much of its body waits to be looked at."""
        if self.inner is not None:
            self.inner.overfull(observation)

    def finished(self, observation: Observation, ending: Ending) -> None:
        """It is over."""
        self.counters.finished(observation, ending)
        if self.inner is not None:
            self.inner.finished(observation, ending)


def offered_by_peer(config: Config, name: str) -> bool:
    """Whether a peer has a model of this name, plain or as `peer/name`."""
    peer, _, rest = name.partition("/")
    named = config.peers.get(peer)
    if named is not None and rest in named.models:
        return True
    return any(name in other.models for other in config.peers.values())


def _status(ending: Ending) -> int:
    """What the client saw; 499 where it left before it saw anything."""
    if ending.status:
        return ending.status
    if ending.outcome in (Outcome.LEFT, Outcome.CANCELLED):
        return CLIENT_LEFT
    return ending.error.status if ending.error is not None else CLIENT_LEFT


def _observe(
    histograms: dict[str, Histogram], model: str, bounds: tuple[float, ...], value: float
) -> None:
    histogram = histograms.get(model)
    if histogram is None:
        histogram = histograms[model] = Histogram(bounds)
    histogram.observe(value)
