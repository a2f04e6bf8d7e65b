"""The seam between deciding and doing: what every scheduler offers to whoever drives it.

The same object runs under the live run loop, under Hypothesis, under the exhaustive interleaving
checker and under the simulator. It is pure: no clock, no I/O, no waiting; it never raises for what
an upstream or a client did.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from attrs import frozen

from llamaswap.planning.events import Effect, Event


@frozen(kw_only=True)
class ModelRules:
    """What a scheduler must know of one local model."""

    limit: int
    """Requests held (waiting or being served) at once; more are refused with 429."""
    priority: int = 0
    slots: int = 0
    """Requests in flight at once, if an operator said so; 0 = what the server says of itself."""
    ttl: float = 0.0
    """Idle seconds before the model is stopped; 0 = never."""


class Scheduler(Protocol):
    """Decides who is served, who waits and what is swapped. One task drives it."""

    def handle(self, event: Event, now: float) -> Iterable[Effect]:
        """Take one event; return the effects in the order to carry them out. Never waits."""
        ...

    def next_wakeup(self) -> float:
        """When a Tick is wanted at the latest: the driver's clock; `math.inf` for never."""
        ...
