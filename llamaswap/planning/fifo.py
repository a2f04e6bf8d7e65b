"""Scheduler `fifo`: first come, first served, with collation. Source: lifecycle §2.

A request is placed by the first of these that applies, and again each time something changed:
join the job that brings its model up; wait in the queue while anything it would disturb is under
way; be served by a ready model; start a job. A blocked request does not block those behind it.
"""

from __future__ import annotations

import math

from attrs import define, field

from llamaswap.errors import LlamaswapError, TooManyRequests
from llamaswap.planning.bookkeeping import Bookkeeping, Job, Request
from llamaswap.planning.events import Position, ProcessState, Refuse
from llamaswap.planning.scheduler import ModelRules


@define
class Fifo(Bookkeeping):
    """Implements `planning.scheduler.Scheduler`; order of service as llama-swap's."""

    max_wait: float = 0.0
    """Seconds after which a queued request is let through before others; 0 = never."""

    _queue: list[Request] = field(factory=list)

    def next_wakeup(self) -> float:
        """When a ttl runs out or a queued request comes of age; inf: nothing to wait for."""
        wake = super().next_wakeup() if self._idle_since else math.inf
        if self.max_wait and self._queue:
            for request in self._queue:
                due = request.arrived + self.max_wait
                if due > self._now:
                    wake = min(wake, due)
        return wake

    # --- what the common part asks ----------------------------------------------------------------

    def _full(self, model: str, rule: ModelRules) -> LlamaswapError | None:
        held = self._held.get(model)
        return TooManyRequests() if held is not None and len(held) >= rule.limit else None

    def _place(self, request: Request) -> None:
        if not self._try(request, self._guard() if self.max_wait else None):
            self._enqueue(request)

    def _unqueue(self, request: Request) -> None:
        if request.job is not None:
            self._jobs[request.model].waiters.remove(request)
        else:
            self._queue.remove(request)

    def _left(self, request: Request) -> None:
        if self.max_wait and self._now - request.arrived >= self.max_wait:
            self._decide()  # it may have led, and its barrier is lifted
        else:
            self._publish()

    def _served(self, request: Request, idle: bool) -> None:
        if idle:
            self._decide()

    def _finish(self, job: Job, error: LlamaswapError | None) -> None:
        for request in job.waiters:
            request.job = None
            if error is None:
                self._grant(request)
            else:
                self._effects.append(Refuse(request.ticket, error))
                self._forget(request)

    def _on_tick(self) -> None:
        self._stop_expired()
        if self._guard() is not None:
            self._decide()

    def _line_up(self, waiting: list[Request], predecessor: Bookkeeping) -> None:
        for job in self._jobs.values():
            job.waiters = []
        for request in sorted(waiting, key=lambda request: request.order):
            job_of = self._jobs.get(request.model)
            if (
                job_of is not None
                and not job_of.cancelled
                and (request.job == job_of.id or not isinstance(predecessor, Fifo))
            ):
                request.job = job_of.id
                job_of.waiters.append(request)
        self._queue = [request for request in waiting if request.job is None]

    # --- placing a request ------------------------------------------------------------------------

    def _try(self, request: Request, guard: Request | None) -> bool:
        """Join, serve or start for `request` if it can be now. False: it has to queue."""
        model = request.model
        job = self._jobs.get(model)
        if job is not None and not job.cancelled:
            request.job = job.id
            job.waiters.append(request)
            return True
        if guard is not None and guard.model != model and self._conflicts(guard.model, model):
            return False
        evict = self._evictions_for(model)
        if self._jobs and self._collides(model, evict):
            return False
        if not evict and self._states.get(model) is ProcessState.READY:
            self._grant(request)
            return True
        if any(self._serving.get(victim) for victim in evict):
            return False
        job = self._start_job(model, evict, _why(evict, overdue=request is guard))
        request.job = job.id
        job.waiters.append(request)
        return True

    # --- the queue --------------------------------------------------------------------------------

    def _enqueue(self, request: Request) -> None:
        place = len(self._queue)
        while place and self._queue[place - 1].priority < request.priority:
            place -= 1
        self._queue.insert(place, request)
        self._publish(place)

    def _decide(self) -> None:
        """Place everything that can be placed now, in order; the rest keeps its order."""
        if self._closed or not self._queue:
            return
        if not self.max_wait:
            self._decide_in_order()
            self._publish()
            return
        pending = list(self._queue)
        while pending:
            guard = self._guard()
            request = guard if guard is not None and guard in pending else pending[0]
            pending.remove(request)
            if self._try(request, guard):
                self._queue.remove(request)
        self._publish()

    def _decide_in_order(self) -> None:
        """The same without a guard: who waits behind one of its own model need not be tried."""
        kept: list[Request] = []
        blocked: set[str] = set()
        for request in self._queue:
            if request.model in blocked or not self._try(request, None):
                blocked.add(request.model)
                kept.append(request)
            else:
                blocked.clear()  # who starts or is served changes what others may do
        self._queue = kept

    def _guard(self) -> Request | None:
        """The request that waited longest among those that waited too long."""
        if not self.max_wait or not self._queue:
            return None
        oldest = min(self._queue, key=lambda request: (request.arrived, request.order))
        return oldest if self._now - oldest.arrived >= self.max_wait else None

    def _publish(self, first: int = 0) -> None:
        """Tell those whose place changed. Nobody's did before index `first`, without a guard."""
        if not self._queue:
            return
        guard = self._guard()
        order = self._queue
        if guard is not None:
            order = [guard, *(request for request in order if request is not guard)]
            first = 0
        waits: dict[str, float] | None = None
        for place, request in enumerate(order[first:], first + 1):
            if request.position != place:
                if waits is None:
                    waits = self._waits(order)
                request.position = place
                self._effects.append(Position(request.ticket, place, waits[request.model]))

    def _waits(self, order: list[Request]) -> dict[str, float]:
        """Seconds until each queued model is up, as if they were loaded one after the other."""
        clock = max((self._job_time_left(job) for job in self._jobs.values()), default=0.0)
        clock += max(
            (self.costs.service(model) for model, busy in self._serving.items() if busy),
            default=0.0,
        )
        waits: dict[str, float] = {}
        stops: dict[tuple[str, ...], float] = {}  # most have the same to go for them
        for model in dict.fromkeys([request.model for request in order]):
            if waits:
                clock += self.costs.service(model)
            evict = self._evictions_for(model)
            if evict not in stops:
                stops[evict] = self._stop_time(evict)
            clock += stops[evict] + self._load_time(model)
            waits[model] = clock
        return waits


def _why(evict: tuple[str, ...], *, overdue: bool) -> str:
    """Complete "swap … because"."""
    if overdue:
        return "it waited longer than maxWait"
    if not evict:
        return "nothing has to go for it"
    return f"{', '.join(evict)} {'are' if len(evict) > 1 else 'is'} idle"
