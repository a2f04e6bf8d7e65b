"""Scheduler `fifo`: first come, first served, with collation. Source: lifecycle §2.

A request is placed by the first of these that applies, and again each time something changed:
join the job that brings its model up; wait in the queue while anything it would disturb is under
way; be served by a ready model; start a job. A blocked request does not block those behind it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import count

from attrs import define, field

from llamaswap.errors import (
    LlamaswapError,
    ModelUnknown,
    ModelUnloaded,
    ShuttingDown,
    TooManyRequests,
)
from llamaswap.planning.events import (
    Admit,
    Arrived,
    CancelJob,
    Effect,
    Event,
    Grant,
    JobDone,
    JobId,
    Position,
    ProcessState,
    Refuse,
    Released,
    Shutdown,
    StartJob,
    StateChanged,
    Stop,
    StopReason,
    Tick,
    TicketId,
    Unload,
)
from llamaswap.planning.planner import Planner
from llamaswap.planning.scheduler import ModelRules

TTL_SLACK = 0.001  # a model is stopped when it was idle for more than its ttl, not exactly it


@define(eq=False)
class Request:
    """An admitted request: queued, waiting for a job, or being served."""

    ticket: TicketId
    model: str
    priority: int
    arrived: float
    order: int
    job: JobId | None = None
    granted: bool = False
    position: int = 0


@define(eq=False)
class Job:
    """One swap under way, until it reports."""

    id: JobId
    target: str
    evict: tuple[str, ...]
    waiters: list[Request] = field(factory=list)
    cancelled: bool = False


@define
class Fifo:
    """Implements `planning.scheduler.Scheduler`; order of service as llama-swap's."""

    rules: Mapping[str, ModelRules]
    planner: Planner
    max_wait: float = 0.0
    """Seconds after which a queued request is let through before others; 0 = never."""

    _states: dict[str, ProcessState] = field(factory=dict)
    _requests: dict[TicketId, Request] = field(factory=dict)
    _queue: list[Request] = field(factory=list)
    _jobs: dict[str, Job] = field(factory=dict)
    """By target: at most one job brings a model up."""
    _held: dict[str, set[TicketId]] = field(factory=dict)
    _serving: dict[str, set[TicketId]] = field(factory=dict)
    _idle_since: dict[str, float] = field(factory=dict)
    """Ready models with a ttl and nothing in flight."""
    _closed: bool = False
    _running: tuple[str, ...] | None = None
    _evictions: dict[str, tuple[str, ...]] = field(factory=dict)
    """The planner's answers for `_running`; both are dropped when that set changes."""
    _effects: list[Effect] = field(factory=list)
    _now: float = 0.0
    _orders: count[int] = field(factory=count)
    _job_ids: count[int] = field(factory=lambda: count(1))

    # --- the seam ---------------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event; return what is to be done, in order."""
        effects = self._effects = []
        self._now = now
        match event:
            case Arrived(ticket=ticket, model=model):
                self._on_arrived(ticket, model)
            case Released(ticket=ticket):
                self._on_released(ticket)
            case StateChanged(model=model, state=state):
                self._on_state(model, state)
            case JobDone(job=job, error=error):
                self._on_job_done(job, error)
            case Unload(models=models):
                self._on_unload(models)
            case Tick():
                self._on_tick()
            case Shutdown():
                self._on_shutdown()
        return effects

    def next_wakeup(self) -> float:
        """When a ttl runs out or a queued request comes of age; inf: nothing to wait for."""
        wake = math.inf
        if self._idle_since:
            for model, since in self._idle_since.items():
                if not self._in_job(model):
                    wake = min(wake, since + self.rules[model].ttl + TTL_SLACK)
        if self.max_wait and self._queue:
            for request in self._queue:
                due = request.arrived + self.max_wait
                if due > self._now:
                    wake = min(wake, due)
        return wake

    def reconfigure(
        self, rules: Mapping[str, ModelRules], planner: Planner, now: float
    ) -> list[Effect]:
        """Go on with other models and another planner; see `Scheduler.reconfigure`."""
        effects = self._effects = []
        self._now = now
        self.rules, self.planner = rules, planner
        self._forget_running()
        for job in self._jobs.values():
            if job.target not in rules:
                self._cancel(job)
        for request in list(self._requests.values()):
            rule = rules.get(request.model)
            if rule is not None:
                request.priority = rule.priority
            elif not request.granted:
                self._refuse(request, ModelUnknown(f"model {request.model} was removed"))
        self._queue.sort(key=lambda request: (-request.priority, request.order))
        self._idle_since = {
            model: self._idle_since.get(model, now)
            for model, state in self._states.items()
            if state is ProcessState.READY and not self._serving.get(model) and self._has_ttl(model)
        }
        self._drain()
        return effects

    # --- events -----------------------------------------------------------------------------------

    def _on_arrived(self, ticket: TicketId, model: str) -> None:
        rule = self.rules.get(model)
        if rule is None:
            error: LlamaswapError = ModelUnknown("no local server found for requested model")
            self._effects.append(Refuse(ticket, error))
            return
        if self._closed:
            self._effects.append(Refuse(ticket, ShuttingDown()))
            return
        held = self._held.get(model)
        if held is None:
            held = self._held[model] = set()
        if len(held) >= rule.limit:
            self._effects.append(Refuse(ticket, TooManyRequests()))
            return
        held.add(ticket)
        request = Request(ticket, model, rule.priority, self._now, next(self._orders))
        self._requests[ticket] = request
        self._effects.append(Admit(ticket))
        if not self._place(request, self._guard() if self.max_wait else None):
            self._enqueue(request)

    def _on_released(self, ticket: TicketId) -> None:
        request = self._requests.get(ticket)
        if request is None:
            return  # it was refused; nothing is held for it
        if request.granted:
            serving = self._serving[request.model]
            serving.discard(ticket)
            self._forget(request)
            if not serving:
                self._start_idle_clock(request.model)
                self._drain()
            return
        led = request is self._guard()
        self._leave(request)
        if led:
            self._drain()  # its barrier is lifted
        else:
            self._publish()

    def _on_state(self, model: str, state: ProcessState) -> None:
        self._states[model] = state
        self._forget_running()
        self._idle_since.pop(model, None)
        if state is ProcessState.READY:
            if not self._serving.get(model):
                self._start_idle_clock(model)
        elif not state.resident:
            if model not in self.rules:
                del self._states[model]
            self._drain()

    def _on_job_done(self, number: JobId, error: LlamaswapError | None) -> None:
        job = next((job for job in self._jobs.values() if job.id == number), None)
        if job is None:
            return  # a stale result changes nothing
        del self._jobs[job.target]
        self._forget_running()
        for request in job.waiters:
            request.job = None
            if error is None:
                self._grant(request)
            else:
                self._effects.append(Refuse(request.ticket, error))
                self._forget(request)
        self._drain()

    def _on_unload(self, models: tuple[str, ...]) -> None:
        known = tuple(model for model in models if model in self.rules)
        for model in known:
            job = self._jobs.get(model)
            if job is not None:
                self._cancel(job)
            if self._states.get(model, ProcessState.STOPPED).resident:
                # from now on nobody is granted to it; the stopped state follows as an event
                self._states[model] = ProcessState.STOPPING
                self._idle_since.pop(model, None)
        for request in list(self._requests.values()):
            if request.model in known and not request.granted:
                self._refuse(request, ModelUnloaded(f"<{request.model}> model unloaded"))
        if known:
            self._effects.append(Stop(known, StopReason.UNLOAD))
        self._drain()

    def _on_tick(self) -> None:
        for model, since in list(self._idle_since.items()):
            if self._now - since > self.rules[model].ttl and not self._in_job(model):
                del self._idle_since[model]
                self._states[model] = ProcessState.STOPPING
                self._effects.append(Stop((model,), StopReason.TTL))
        if self._guard() is not None:
            self._drain()

    def _on_shutdown(self) -> None:
        self._closed = True
        for job in self._jobs.values():
            self._cancel(job)
        for request in list(self._requests.values()):
            if not request.granted:
                self._refuse(request, ShuttingDown())

    # --- placing a request ------------------------------------------------------------------------

    def _place(self, request: Request, guard: Request | None) -> bool:
        """Join, serve or start for `request` if it can be now. False: it has to queue."""
        model = request.model
        job = self._jobs.get(model)
        if job is not None and not job.cancelled:
            request.job = job.id
            job.waiters.append(request)
            return True
        if guard is not None and guard.model != model and self._would_keep_waiting(guard, model):
            return False
        evict = self._evictions_for(model)
        if self._jobs and self._collides(model, evict):
            return False
        if not evict and self._states.get(model) is ProcessState.READY:
            self._grant(request)
            return True
        if any(self._serving.get(victim) for victim in evict):
            return False
        self._start_job(request, evict)
        return True

    def _collides(self, model: str, evict: tuple[str, ...]) -> bool:
        """Whether a job under way would undo, or be undone by, bringing `model` up."""
        for job in self._jobs.values():
            if job.target == model:  # its own, cancelled: wait until that has reported
                return True
            if job.target in evict or model in job.evict:
                return True
            if not set(evict).isdisjoint(job.evict):
                return True
        return False

    def _would_keep_waiting(self, guard: Request, model: str) -> bool:
        """Whether serving `model` would make the longest waiter wait on. Source: §2.9."""
        running = self._running_set()
        beside = running if model in running else tuple(sorted((*running, model)))
        return model in self.planner.evict(
            guard.model, beside
        ) or guard.model in self.planner.evict(
            model,
            running if guard.model in running else tuple(sorted((*running, guard.model))),
        )

    def _grant(self, request: Request) -> None:
        request.granted = True
        self._serving.setdefault(request.model, set()).add(request.ticket)
        self._idle_since.pop(request.model, None)
        self._effects.append(Grant(request.ticket))

    def _start_job(self, request: Request, evict: tuple[str, ...]) -> None:
        job = Job(JobId(next(self._job_ids)), request.model, evict, [request])
        request.job = job.id
        self._jobs[job.target] = job
        self._forget_running()
        self._effects.append(StartJob(job.id, job.target, evict))

    def _cancel(self, job: Job) -> None:
        """End a job early; it stays where it is until it reports, so nothing starts into it."""
        if not job.cancelled:
            job.cancelled = True
            self._effects.append(CancelJob(job.id))

    # --- the queue --------------------------------------------------------------------------------

    def _enqueue(self, request: Request) -> None:
        place = len(self._queue)
        while place and self._queue[place - 1].priority < request.priority:
            place -= 1
        self._queue.insert(place, request)
        self._publish()

    def _drain(self) -> None:
        """Place everything that can be placed now, in order; the rest keeps its order."""
        if self._closed or not self._queue:
            return
        pending = list(self._queue)
        while pending:
            guard = self._guard()
            request = guard if guard is not None and guard in pending else pending[0]
            pending.remove(request)
            if self._place(request, guard):
                self._queue.remove(request)
        self._publish()

    def _guard(self) -> Request | None:
        """The request that waited longest among those that waited too long."""
        if not self.max_wait or not self._queue:
            return None
        oldest = min(self._queue, key=lambda request: (request.arrived, request.order))
        return oldest if self._now - oldest.arrived >= self.max_wait else None

    def _publish(self) -> None:
        """Tell those whose place changed."""
        if not self._queue:
            return
        guard = self._guard()
        order = self._queue
        if guard is not None:
            order = [guard, *(request for request in order if request is not guard)]
        for place, request in enumerate(order, 1):
            if request.position != place:
                request.position = place
                self._effects.append(Position(request.ticket, place))

    # --- bookkeeping ------------------------------------------------------------------------------

    def _refuse(self, request: Request, error: LlamaswapError) -> None:
        self._effects.append(Refuse(request.ticket, error))
        self._leave(request)

    def _leave(self, request: Request) -> None:
        """Take a request that was not granted out of the queue or its job."""
        if request.job is not None:
            self._jobs[request.model].waiters.remove(request)
        else:
            self._queue.remove(request)
        self._forget(request)

    def _forget(self, request: Request) -> None:
        del self._requests[request.ticket]
        self._held[request.model].discard(request.ticket)

    def _evictions_for(self, model: str) -> tuple[str, ...]:
        evict = self._evictions.get(model)
        if evict is None:
            evict = self._evictions[model] = self.planner.evict(model, self._running_set())
        return evict

    def _running_set(self) -> tuple[str, ...]:
        """Every model that may take memory now or soon, sorted."""
        if self._running is None:
            models = {model for model, state in self._states.items() if state.resident}
            models.update(self._jobs)
            self._running = tuple(sorted(models))
        return self._running

    def _forget_running(self) -> None:
        self._running = None
        self._evictions.clear()

    def _has_ttl(self, model: str) -> bool:
        rule = self.rules.get(model)
        return rule is not None and rule.ttl > 0

    def _start_idle_clock(self, model: str) -> None:
        if self._states.get(model) is ProcessState.READY and self._has_ttl(model):
            self._idle_since[model] = self._now

    def _in_job(self, model: str) -> bool:
        return any(model == job.target or model in job.evict for job in self._jobs.values())
