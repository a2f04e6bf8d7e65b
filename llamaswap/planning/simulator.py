"""The shipped scheduler and planner under a simulated clock: no processes, no sleeping.

A trace says who asks for what and when; costs say what loads and stops take; the result says who
waited how long. Pure and deterministic. Source: scheduling §3.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from heapq import heappop, heappush
from itertools import count

from attrs import define, field, frozen

from llamaswap.errors import StartAborted
from llamaswap.planning.bookkeeping import Bookkeeping
from llamaswap.planning.events import (
    Admit,
    Arrived,
    CancelJob,
    Decision,
    Effect,
    Event,
    Grant,
    JobDone,
    JobId,
    Position,
    ProcessState,
    Refuse,
    Released,
    SlotsKnown,
    StartJob,
    StateChanged,
    Stop,
    Tick,
    TicketId,
)

S = ProcessState
STUCK = 10_000
"""Ticks in a row without anything else happening: the scheduler asks for them in vain."""


class Wedged(Exception):
    """Requests wait and nothing will ever happen again, or ticks never end."""


@frozen(kw_only=True)
class Call:
    """One request of a trace."""

    id: str
    model: str
    service: float
    """Seconds the server works on it."""
    at: float | None = None
    """Seconds; None: `think` seconds after the answer to `after`."""
    after: str | None = None
    think: float = 0.0
    client: str = ""
    priority: int | None = None
    cancel: float | None = None
    """Seconds after its arrival at which the client leaves, served or not."""


@frozen(kw_only=True)
class Machine:
    """What one model's server takes and can do."""

    load: float = 10.0
    unload: float = 1.0
    slots: int = 1
    """Requests it works on at once; more wait inside it, where nobody can reorder them."""
    reports_slots: bool = True


@define(kw_only=True)
class Served:
    """What became of one call."""

    call: Call
    arrived: float
    began: float | None = None
    """When the server began to work on it."""
    ended: float | None = None
    outcome: str = "waiting"  # waiting, done, refused, cancelled

    @property
    def wait(self) -> float | None:
        """Seconds from arrival to work. None: nobody ever worked on it."""
        return None if self.began is None else self.began - self.arrived


@define
class Stay:
    """One residency of a model."""

    model: str
    began: float
    ready: float = math.inf
    stopping: float = math.inf
    ended: float = math.inf
    owed_until: float = -math.inf
    """When the last of those who waited when it became ready was granted."""


@define
class History:
    """All that happened in one run."""

    served: list[Served] = field(factory=list)
    stays: list[Stay] = field(factory=list)
    swaps: int = 0
    """Loads of a model."""
    order: list[str] = field(factory=list)
    """Models in the order in which their loads began."""
    loading: float = 0.0
    """Seconds spent loading, all models together."""
    events: int = 0
    ended: float = 0.0


@define
class _Process:
    """A simulated upstream."""

    machine: Machine
    state: ProcessState = S.STOPPED
    working: set[TicketId] = field(factory=set)
    inside: deque[TicketId] = field(factory=deque)
    """Granted, and waiting inside the server."""
    stay: Stay | None = None
    owed: set[TicketId] = field(factory=set)
    stop_number: int = 0


@define
class _Job:
    start: StartJob
    waits_for: set[str]
    cancelled: bool = False


@define
class Simulator:
    """Plays one trace against one scheduler. Use `simulate`."""

    scheduler: Bookkeeping
    machines: Mapping[str, Machine]
    until: float = math.inf
    history: History = field(factory=History)
    now: float = 0.0
    _agenda: list[tuple[float, int, Callable[[], None]]] = field(factory=list)
    _sequence: count[int] = field(factory=count)
    _inbox: deque[Event] = field(factory=deque)
    _busy: bool = False
    _processes: dict[str, _Process] = field(factory=dict)
    _jobs: dict[JobId, _Job] = field(factory=dict)
    _open: dict[TicketId, Served] = field(factory=dict)
    _followers: dict[str, list[Call]] = field(factory=dict)

    def run(self, calls: Iterable[Call]) -> History:
        """Play all calls to their ends. Raises Wedged."""
        self._processes = {model: _Process(machine) for model, machine in self.machines.items()}
        for call in calls:
            if call.after is not None:
                self._followers.setdefault(call.after, []).append(call)
            else:
                self._at(call.at or 0.0, lambda call=call: self._arrive(call))  # type: ignore[misc]
        while self._step():
            pass
        self.history.ended = self.now
        return self.history

    def _step(self) -> bool:
        """Let the next thing happen. False: there is none."""
        wake = self.scheduler.next_wakeup()
        if self._agenda and self._agenda[0][0] <= wake:
            self.now, _, happen = heappop(self._agenda)
            happen()
            return True
        if not self._open and not self._agenda:
            return False  # only idle clocks run
        if wake == math.inf:
            raise Wedged(f"{len(self._open)} requests wait for nothing at {self.now:g} s")
        self._tick_until(self._agenda[0][0] if self._agenda else math.inf)
        return True

    def _tick_until(self, end: float) -> None:
        open_before = (len(self._open), len(self._jobs), len(self._agenda))
        for _ in range(STUCK):
            wake = self.scheduler.next_wakeup()
            if wake >= end or wake == math.inf:
                return
            self.now = max(self.now, wake)
            self._tell(Tick())
            if (len(self._open), len(self._jobs), len(self._agenda)) != open_before:
                return
        raise Wedged(f"ticks without end at {self.now:g} s")

    def _at(self, time: float, happen: Callable[[], None]) -> None:
        heappush(self._agenda, (time, next(self._sequence), happen))

    # --- clients ----------------------------------------------------------------------------------

    def _arrive(self, call: Call) -> None:
        if self.now > self.until:
            return
        ticket = TicketId(len(self.history.served) + 1)
        served = Served(call=call, arrived=self.now)
        self.history.served.append(served)
        self._open[ticket] = served
        if call.cancel is not None:
            self._at(self.now + call.cancel, lambda: self._leave(ticket))
        self._tell(Arrived(ticket, call.model, call.priority))

    def _leave(self, ticket: TicketId) -> None:
        served = self._open.get(ticket)
        if served is not None:
            self._end(ticket, "cancelled")

    def _finish(self, ticket: TicketId) -> None:
        if ticket in self._open:
            self._end(ticket, "done")

    def _end(self, ticket: TicketId, outcome: str) -> None:
        served = self._open.pop(ticket)
        served.outcome, served.ended = outcome, self.now
        process = self._processes.get(served.call.model)
        if process is not None:
            process.working.discard(ticket)
            if ticket in process.inside:
                process.inside.remove(ticket)
            self._work(process)
        for call in self._followers.pop(served.call.id, ()):
            self._at(self.now + call.think, lambda call=call: self._arrive(call))  # type: ignore[misc]
        if outcome != "refused":
            self._tell(Released(ticket))

    def _work(self, process: _Process) -> None:
        """Let a server take what waits inside it."""
        while process.inside and len(process.working) < process.machine.slots:
            ticket = process.inside.popleft()
            served = self._open[ticket]
            served.began = self.now
            process.working.add(ticket)
            self._at(self.now + served.call.service, lambda t=ticket: self._finish(t))  # type: ignore[misc]

    # --- the scheduler ----------------------------------------------------------------------------

    def _tell(self, event: Event) -> None:
        """Hand events over one by one, as a run loop does."""
        self._inbox.append(event)
        if self._busy:
            return
        self._busy = True
        while self._inbox:
            self.history.events += 1
            for effect in self.scheduler.handle(self._inbox.popleft(), self.now):
                self._apply(effect)
        self._busy = False

    def _apply(self, effect: Effect) -> None:
        match effect:
            case Grant(ticket=ticket):
                process = self._processes[self._open[ticket].call.model]
                process.inside.append(ticket)
                if process.owed:
                    process.owed.discard(ticket)
                    if process.stay is not None:
                        process.stay.owed_until = self.now
                self._work(process)
            case Refuse(ticket=ticket):
                self._end(ticket, "refused")
            case StartJob():
                self._start(effect)
            case CancelJob(job=number):
                self._jobs[number].cancelled = True
            case Stop(models=models):
                for model in models:
                    self._stop(model)
            case Admit() | Position() | Decision():
                pass

    # --- processes --------------------------------------------------------------------------------

    def _start(self, start: StartJob) -> None:
        stopping = {model for model in start.evict if self._processes[model].state.resident}
        job = self._jobs[start.job] = _Job(start, set(stopping))
        for model in sorted(stopping):
            self._stop(model)
        self._at(self.now, lambda: self._go_on(job))

    def _go_on(self, job: _Job) -> None:
        """Load the target once everybody who has to go is gone."""
        if job.start.job not in self._jobs or job.waits_for:
            return
        target = job.start.target
        process = self._processes[target]
        if job.cancelled:
            self._done(job, StartAborted("cancelled"))
        elif process.state is S.READY:
            self._done(job, None)
        elif process.state is S.STOPPED:
            self._enter(target, S.STARTING)
            self.history.swaps += 1
            self.history.order.append(target)
            self.history.loading += process.machine.load
            self._at(self.now + process.machine.load, lambda: self._loaded(job))

    def _loaded(self, job: _Job) -> None:
        target = job.start.target
        if job.cancelled:
            self._enter(target, S.STOPPED)
            self._done(job, StartAborted("cancelled"))
            return
        self._enter(target, S.READY)
        self._done(job, None)
        machine = self._processes[target].machine
        if machine.reports_slots:
            self._tell(SlotsKnown(target, machine.slots))

    def _done(self, job: _Job, error: StartAborted | None) -> None:
        del self._jobs[job.start.job]
        self._tell(JobDone(job.start.job, error))

    def _stop(self, model: str) -> None:
        process = self._processes[model]
        if process.state in (S.READY, S.STARTING):
            process.stop_number += 1
            self._enter(model, S.STOPPING)
            self._at(self.now + process.machine.unload, lambda: self._stopped(model))

    def _stopped(self, model: str) -> None:
        self._enter(model, S.STOPPED)
        for job in list(self._jobs.values()):
            job.waits_for.discard(model)
            self._go_on(job)

    def _enter(self, model: str, state: ProcessState) -> None:
        process = self._processes[model]
        process.state = state
        match state:
            case S.STARTING:
                process.stay = Stay(model, self.now)
                self.history.stays.append(process.stay)
            case S.READY if process.stay is not None:
                process.stay.ready = self.now
                process.owed = {t for t, s in self._open.items() if s.call.model == model}
            case S.STOPPING if process.stay is not None:
                process.stay.stopping = self.now
            case S.STOPPED if process.stay is not None:
                process.stay.ended = self.now
            case _:
                pass
        self._tell(StateChanged(model, state))


def simulate(
    scheduler: Bookkeeping,
    machines: Mapping[str, Machine],
    calls: Iterable[Call],
    *,
    until: float = math.inf,
) -> History:
    """Play `calls` against `scheduler`, which is used up by it.

    `until`: seconds after which no request comes any more; what has come is played to its end.

    Raises:
        Wedged: somebody would wait for ever.
    """
    return Simulator(scheduler, machines, until).run(calls)
