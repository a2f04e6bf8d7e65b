"""Which automatic port each model gets.

Source: config §3.5, lifecycle §1.11.
"""

from __future__ import annotations

from collections.abc import Mapping

HIGHEST = 65535


class Ports:
    """Hands out ports, counting up from `start`.

    A model that already has a port keeps it, wherever `start` has moved, and nobody else gets a
    port that was in use: its process may still be stopping.
    """

    def __init__(self, start: int, sticky: Mapping[str, int]) -> None:
        self._next = start
        self._kept = dict(sticky)
        self._taken = set(self._kept.values())

    def assign(self, model: str) -> int:
        """The port of `model`; ask in the order of the ids."""
        if model in self._kept:
            return self._kept[model]
        while self._next in self._taken:
            self._next += 1
        port = self._next
        self._next += 1
        return port
