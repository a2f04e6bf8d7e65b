"""Those who wait for one model, in order of service, with what is asked of them all the time."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator

from attrs import define, field

from llamaswap.planning.bookkeeping import Request


def in_order(request: Request) -> tuple[int, int]:
    """Key of the order of service: higher priority first, then first come first served."""
    return (-request.priority, request.order)


@define(eq=False)
class Line:
    """First come, first served within a priority."""

    requests: list[Request] = field(factory=list)
    _arrivals: float = 0.0
    """Sum of the times of arrival: gives the sum of all ages without a walk."""
    _oldest: float | None = None

    def __len__(self) -> int:
        return len(self.requests)

    def __iter__(self) -> Iterator[Request]:
        return iter(self.requests)

    def join(self, request: Request) -> int:
        """Take a place; return it, 1-based."""
        self._arrivals += request.arrived
        if self._oldest is not None:
            self._oldest = min(self._oldest, request.arrived)
        last = self.requests[-1] if self.requests else None
        if last is None or last.priority >= request.priority:
            self.requests.append(request)
            return len(self.requests)
        insort(self.requests, request, key=in_order)
        return self.requests.index(request) + 1

    def leave(self, request: Request) -> None:
        """Give a place up."""
        self.requests.remove(request)
        self._forget(request)

    def pop(self) -> Request:
        """Take the first."""
        request = self.requests.pop(0)
        self._forget(request)
        return request

    def sort(self) -> None:
        """Bring the order in line with changed priorities."""
        self.requests.sort(key=in_order)

    @property
    def oldest(self) -> float:
        """When the one who waits longest came."""
        if self._oldest is None:
            self._oldest = min(request.arrived for request in self.requests)
        return self._oldest

    @property
    def priority(self) -> int:
        """The highest of all."""
        return self.requests[0].priority

    def age(self, now: float) -> float:
        """Sum over all of the seconds waited, and one second more for each."""
        return len(self.requests) * (now + 1.0) - self._arrivals

    def _forget(self, request: Request) -> None:
        self._arrivals -= request.arrived
        if not self.requests:
            self._arrivals = 0.0  # no rounding is carried over into the next line
        if request.arrived == self._oldest:
            self._oldest = None
