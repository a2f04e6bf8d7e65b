"""Which target a selector means right now. Source: http-api §2.3.

Spillover counts its own requests: one reservation per request and target, given back when the
answer has ended, whatever happened to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum

from attrs import define, field

from llamaswap.config.schema import Selector
from llamaswap.errors import LlamaswapError
from llamaswap.planning.events import ProcessState

StateOf = Callable[[str], ProcessState | None]
"""State of a local model by its real id; None: it is no local model."""


class NoTarget(LlamaswapError):
    """Every target of the selector is on its way out."""

    status = 503


class _Use(Enum):
    ACTIVE = 1
    COLD = 2
    UNUSABLE = 3


@define(eq=False)
class Selectors:
    """Reservations and turns of all selectors. They outlive a reload, as requests do."""

    _held: Counter[tuple[str, str]] = field(factory=Counter)
    """Requests under way by selector and target."""
    _turn: Counter[str] = field(factory=Counter)

    def choose(self, selector: Selector, resolve: Callable[[str], str], state: StateOf) -> str:
        """The target (as written) for one more request. `resolve`: what a target's name means.

        Raises:
            NoTarget: no target can take a request.
        """
        match selector.strategy:
            case "pin":
                return selector.targets[0]
            case "warm":
                return _warmest(selector, resolve, state)
            case "spillover":
                return self._spill(selector, resolve, state)

    @contextmanager
    def reserve(self, selector: Selector, resolved: str) -> Iterator[None]:
        """Count a request to a target for the length of the block."""
        key = (selector.id, resolved)
        self._held[key] += 1
        try:
            yield
        finally:
            self._held[key] -= 1
            if not self._held[key]:
                del self._held[key]

    def held(self, selector: str, resolved: str) -> int:
        """Requests under way through `selector` to a target."""
        return self._held[selector, resolved]

    def _spill(self, selector: Selector, resolve: Callable[[str], str], state: StateOf) -> str:
        active: list[str] = []
        cold: list[str] = []
        for target in selector.targets:
            use = self._use(selector, resolve(target), state)
            if use is _Use.ACTIVE:
                active.append(target)
            elif use is _Use.COLD:
                cold.append(target)
        load = {target: self.held(selector.id, resolve(target)) for target in active}
        if active and (min(load.values()) < selector.spillover or not cold):
            least = [target for target in active if load[target] == min(load.values())]
            self._turn[selector.id] += 1
            return least[(self._turn[selector.id] - 1) % len(least)]
        if not cold:
            raise NoTarget(f"selector {selector.id}: no available spillover targets")
        return cold[0]

    def _use(self, selector: Selector, resolved: str, state: StateOf) -> _Use:
        now = state(resolved)
        if now in (ProcessState.STOPPING, ProcessState.SHUTDOWN):
            return _Use.UNUSABLE
        running = now in (ProcessState.READY, ProcessState.STARTING)
        return _Use.ACTIVE if running or self.held(selector.id, resolved) else _Use.COLD


def _warmest(selector: Selector, resolve: Callable[[str], str], state: StateOf) -> str:
    states = [state(resolve(target)) for target in selector.targets]
    for wanted in (ProcessState.READY, ProcessState.STARTING):
        if wanted in states:
            return selector.targets[states.index(wanted)]
    return selector.targets[0]
