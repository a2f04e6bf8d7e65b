"""What every scheduler of ours keeps: requests and their slots, states, jobs, idle clocks.

A scheduler adds the order of service. It must decide again in `_decide` whatever may go now, and
must know where its waiting requests are. Source: lifecycle §2.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from itertools import count

from attrs import define, field

from llamaswap.errors import (
    LlamaswapError,
    ModelUnknown,
    ModelUnloaded,
    ShuttingDown,
)
from llamaswap.planning.costs import Costs
from llamaswap.planning.events import (
    Admit,
    Arrived,
    CancelJob,
    Decision,
    DecisionKind,
    Effect,
    Event,
    Grant,
    JobDone,
    JobId,
    ProcessState,
    Refuse,
    Released,
    Shutdown,
    SlotsKnown,
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
    """An admitted request: waiting, or being served."""

    ticket: TicketId
    model: str
    priority: int
    arrived: float
    order: int
    job: JobId | None = None
    granted: bool = False
    granted_at: float = 0.0
    position: int = 0


@define(eq=False)
class Job:
    """One swap under way, until it reports."""

    id: JobId
    target: str
    evict: tuple[str, ...]
    began: float
    waiters: list[Request] = field(factory=list)
    """Those who joined it, under a scheduler that lets them."""
    cancelled: bool = False


@define
class Bookkeeping(ABC):
    """The common part of the schedulers."""

    rules: Mapping[str, ModelRules]
    planner: Planner
    costs: Costs = field(factory=Costs)

    _states: dict[str, ProcessState] = field(factory=dict)
    _state_since: dict[str, float] = field(factory=dict)
    _requests: dict[TicketId, Request] = field(factory=dict)
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
            case Arrived():
                self._on_arrived(event)
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
            case SlotsKnown(model=model, slots=slots):
                self._on_slots(model, slots)
            case Shutdown():
                self._on_shutdown()
        return effects

    def next_wakeup(self) -> float:
        """When a ttl runs out or a scheduler wants to decide again; inf: nothing to wait for."""
        wake = math.inf
        if self._idle_since:
            for model, since in self._idle_since.items():
                if not self._in_job(model):
                    wake = min(wake, since + self.rules[model].ttl + TTL_SLACK)
        return wake

    def idle_since(self, model: str) -> float | None:
        """Since when a ready model with a ttl has had no request; None: it has one, or no ttl."""
        return self._idle_since.get(model)

    def take_over(self, predecessor: Bookkeeping, now: float) -> list[Effect]:
        """Go on where `predecessor` stopped, with our models, planner and order of service.

        Source: lifecycle §1.11. Tickets that wait for a model that is gone are refused; those in
        flight stay. Returns the effects in order.
        """
        effects = self._effects = []
        self._now = now
        self.costs = predecessor.costs
        self._inherit(predecessor)
        for job in self._jobs.values():
            if job.target not in self.rules:
                self._cancel(job)
        for request in list(self._requests.values()):
            rule = self.rules.get(request.model)
            if rule is not None:
                request.priority = rule.priority
            elif not request.granted:
                error = ModelUnknown(f"model {request.model} was removed")
                self._effects.append(Refuse(request.ticket, error))
                self._forget(request)
        self._idle_since = {
            model: predecessor._idle_since.get(model, now)
            for model, state in self._states.items()
            if state is ProcessState.READY and not self._serving.get(model) and self._has_ttl(model)
        }
        waiting = [request for request in self._requests.values() if not request.granted]
        waiting.sort(key=lambda request: (-request.priority, request.order))
        self._line_up(waiting, predecessor)
        self._decide()
        return effects

    def _inherit(self, predecessor: Bookkeeping) -> None:
        for name in (
            "_states",
            "_state_since",
            "_requests",
            "_jobs",
            "_held",
            "_serving",
            "_closed",
            "_orders",
            "_job_ids",
        ):
            setattr(self, name, getattr(predecessor, name))

    # --- what a scheduler adds --------------------------------------------------------------------

    @abstractmethod
    def _full(self, model: str, rule: ModelRules) -> LlamaswapError | None:
        """Why no further request for `model` is admitted; None: there is room."""

    @abstractmethod
    def _place(self, request: Request) -> None:
        """Grant a request that was just admitted, start a job for it, or let it wait."""

    @abstractmethod
    def _unqueue(self, request: Request) -> None:
        """Take a request that is not granted from wherever it waits."""

    @abstractmethod
    def _left(self, request: Request) -> None:
        """React to a client that left while it waited; it is unqueued already."""

    @abstractmethod
    def _served(self, request: Request, idle: bool) -> None:
        """React to the end of a granted request; `idle`: it was the model's last."""

    @abstractmethod
    def _finish(self, job: Job, error: LlamaswapError | None) -> None:
        """Grant or refuse those who waited for a job that has reported."""

    @abstractmethod
    def _decide(self) -> None:
        """Do whatever can be done now for those who wait."""

    @abstractmethod
    def _line_up(self, waiting: list[Request], predecessor: Bookkeeping) -> None:
        """Take in those who waited under another scheduler, by priority and arrival."""

    def _entered(self, model: str, state: ProcessState) -> None:  # noqa: B027  # optional
        """React to a change of state, before anything is decided."""

    def _on_slots(self, model: str, slots: int) -> None:  # noqa: B027  # optional
        """React to what an upstream said of itself."""

    # --- events -----------------------------------------------------------------------------------

    def _on_arrived(self, event: Arrived) -> None:
        ticket, model = event.ticket, event.model
        rule = self.rules.get(model)
        if rule is None:
            error: LlamaswapError = ModelUnknown("no local server found for requested model")
            self._effects.append(Refuse(ticket, error))
            return
        if self._closed:
            self._effects.append(Refuse(ticket, ShuttingDown()))
            return
        full = self._full(model, rule)
        if full is not None:
            self._effects.append(Refuse(ticket, full))
            return
        priority = rule.priority if event.priority is None else event.priority
        request = Request(ticket, model, priority, self._now, next(self._orders))
        held = self._held.get(model)
        if held is None:
            held = self._held[model] = set()
        held.add(ticket)
        self._requests[ticket] = request
        self._effects.append(Admit(ticket))
        self._place(request)

    def _on_released(self, ticket: TicketId) -> None:
        request = self._requests.get(ticket)
        if request is None:
            return  # it was refused; nothing is held for it
        if not request.granted:
            self._unqueue(request)
            self._forget(request)
            self._left(request)
            return
        serving = self._serving[request.model]
        serving.discard(ticket)
        self._forget(request)
        if not serving:
            self._start_idle_clock(request.model)
        self._served(request, not serving)

    def _on_state(self, model: str, state: ProcessState) -> None:
        self._learn(model, state)
        self._states[model] = state
        self._state_since[model] = self._now
        self._forget_running()
        self._idle_since.pop(model, None)
        self._entered(model, state)
        if state is ProcessState.READY:
            if not self._serving.get(model):
                self._start_idle_clock(model)
        elif not state.resident:
            if model not in self.rules:
                del self._states[model]
            self._decide()

    def _learn(self, model: str, state: ProcessState) -> None:
        """Take the length of a start or a stop that has just ended well."""
        was = self._states.get(model)
        if was is ProcessState.STARTING and state is ProcessState.READY:
            self.costs.note_load(model, self._now - self._state_since[model])
        elif was is ProcessState.STOPPING and not state.resident:
            self.costs.note_unload(model, self._now - self._state_since[model])

    def _on_job_done(self, number: JobId, error: LlamaswapError | None) -> None:
        job = next((job for job in self._jobs.values() if job.id == number), None)
        if job is None:
            return  # a stale result changes nothing
        del self._jobs[job.target]
        self._forget_running()
        self._finish(job, error)
        self._decide()

    def _on_unload(self, models: tuple[str, ...]) -> None:
        known = tuple(model for model in models if model in self.rules)
        for model in known:
            job = self._jobs.get(model)
            if job is not None:
                self._cancel(job)
            if self._states.get(model, ProcessState.STOPPED).resident:
                self._begin_stop(model)  # the stopped state follows as an event
        for request in list(self._requests.values()):
            if request.model in known and not request.granted:
                self._refuse(request, ModelUnloaded(f"<{request.model}> model unloaded"))
        if known:
            self._effects.append(Stop(known, StopReason.UNLOAD))
        self._decide()

    def _on_tick(self) -> None:
        self._stop_expired()
        self._decide()

    def _stop_expired(self) -> None:
        """Stop what was idle for longer than its ttl."""
        for model, since in list(self._idle_since.items()):
            if self._now - since > self.rules[model].ttl and not self._in_job(model):
                self._begin_stop(model)
                self._effects.append(Stop((model,), StopReason.TTL))

    def _on_shutdown(self) -> None:
        self._closed = True
        for job in self._jobs.values():
            self._cancel(job)
        for request in list(self._requests.values()):
            if not request.granted:
                self._refuse(request, ShuttingDown())

    # --- steps ------------------------------------------------------------------------------------

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

    def _conflicts(self, first: str, model: str) -> bool:
        """Whether having `model` resident would stand in the way of `first`. Source: §2.9."""
        running = self._running_set()
        return model in self.planner.evict(first, _with(running, model)) or (
            first in self.planner.evict(model, _with(running, first))
        )

    def _grant(self, request: Request) -> None:
        request.granted = True
        request.granted_at = self._now
        serving = self._serving.get(request.model)
        if serving is None:
            serving = self._serving[request.model] = set()
        serving.add(request.ticket)
        self._idle_since.pop(request.model, None)
        self._effects.append(Grant(request.ticket))

    def _start_job(self, model: str, evict: tuple[str, ...], reason: str) -> Job:
        explained = self.planner.explain(model, self._running_set(), evict)
        if explained:
            reason = f"{reason}; {explained}"
        job = Job(JobId(next(self._job_ids)), model, evict, self._now)
        self._jobs[job.target] = job
        self._forget_running()
        self._effects.append(StartJob(job.id, job.target, evict))
        time = self._swap_time(model, evict)
        self._effects.append(self._decision(DecisionKind.SWAP, model, evict, reason, time))
        return job

    def _decision(
        self,
        kind: DecisionKind,
        model: str,
        evicted: tuple[str, ...],
        reason: str,
        estimate: float,
    ) -> Decision:
        waiting = [
            request
            for ticket in self._held.get(model, ())
            if not (request := self._requests[ticket]).granted
        ]
        oldest = min((request.arrived for request in waiting), default=self._now)
        return Decision(
            kind=kind,
            model=model,
            evicted=evicted,
            reason=reason,
            waiters=len(waiting),
            oldest_wait=self._now - oldest,
            estimate=estimate,
        )

    def _swap_time(self, model: str, evict: Iterable[str]) -> float:
        """Seconds until `model` is up once `evict` may go."""
        return self._stop_time(evict) + self._load_time(model)

    def _stop_time(self, evict: Iterable[str]) -> float:
        """Seconds until all of `evict` are gone; they stop side by side."""
        stops = 0.0
        for victim in evict:  # called for everybody who waits: no generator
            stops = max(stops, self.costs.unload(victim))
        return stops

    def _load_time(self, model: str) -> float:
        """Seconds until `model` is up; a ready one needs no load."""
        return 0.0 if self._states.get(model) is ProcessState.READY else self.costs.load(model)

    def _job_time_left(self, job: Job) -> float:
        expected = self.costs.swap(job.evict, job.target)
        return max(expected - (self._now - job.began), 0.0)

    def _cancel(self, job: Job) -> None:
        """End a job early; it stays where it is until it reports, so nothing starts into it."""
        if not job.cancelled:
            job.cancelled = True
            self._effects.append(CancelJob(job.id))

    def _begin_stop(self, model: str) -> None:
        """From now on nobody is granted to `model`."""
        self._states[model] = ProcessState.STOPPING
        self._state_since[model] = self._now
        self._idle_since.pop(model, None)
        self._entered(model, ProcessState.STOPPING)

    def _refuse(self, request: Request, error: LlamaswapError) -> None:
        self._effects.append(Refuse(request.ticket, error))
        self._unqueue(request)
        self._forget(request)

    def _forget(self, request: Request) -> None:
        del self._requests[request.ticket]
        self._held[request.model].discard(request.ticket)

    # --- what is known ----------------------------------------------------------------------------

    def _evictions_for(self, model: str) -> tuple[str, ...]:
        evict = self._evictions.get(model)
        if evict is None:
            evict = self._evictions[model] = self.planner.evict(model, self._beside(model))
        return evict

    def _beside(self, model: str) -> tuple[str, ...]:
        """Whom the planner is asked about for `model`.

        One that is ending does not count as running where it is wanted itself: after a reload it
        may be beside models that a fresh start of it has to push out.
        """
        running = self._running_set()
        if self._states.get(model) is ProcessState.STOPPING and model not in self._jobs:
            return tuple(other for other in running if other != model)
        return running

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


def _with(running: tuple[str, ...], model: str) -> tuple[str, ...]:
    return running if model in running else tuple(sorted((*running, model)))
