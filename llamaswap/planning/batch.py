"""Scheduler `batch`: long visits, few swaps, and nobody waits for ever. Source: scheduling §2.

A ready model serves whatever comes for it, as many at once as its server works on. An idle one is
kept a moment for the next request of a client that is thinking. A busy one is left alone until
somebody else waits too long *and* its visit was worth its swap; then its gate closes, what runs
ends, and the longest waiter is next.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from attrs import define, field

from llamaswap.errors import LlamaswapError, TooManyRequests
from llamaswap.planning.bookkeeping import Bookkeeping, Job, Request
from llamaswap.planning.events import DecisionKind, Position, ProcessState, Refuse, TicketId
from llamaswap.planning.line import Line
from llamaswap.planning.scheduler import ModelRules

PUBLISH_EVERY = 0.5  # seconds between two looks at the places of those who wait
RARE = 1 / 3600  # requests per second that even a forgotten model is taken to get
PAUSE_MARGIN = 1.25  # how much longer than most pauses an idle model is kept
PAUSE_SLACK = 0.1  # seconds on top, for the way of a request
INSTANT = 0.001  # seconds that even what was measured as nothing is taken to last
SHORT_HOLD = 1.0  # seconds at most that a model is kept for which hardly anybody asks


@define(eq=False)
class Visit:
    """A model's stay, from ready to its stop."""

    since: float
    """When its load began: who waits for the next swap waits through the load as well."""
    owed: set[TicketId]
    """Those who waited for it when it became ready and were not granted yet."""
    idle_since: float | None
    told: set[tuple[DecisionKind, str]] = field(factory=set)
    """What was explained already: which decision, for which newcomer."""


@define
class Batch(Bookkeeping):
    """Implements `planning.scheduler.Scheduler`; see the module."""

    max_wait: float = 60.0
    """Seconds after which a waiting model is overdue; 0 = never, and a busy model never yields."""
    max_queue: int = 100
    """Requests that may wait for one model; more are refused."""
    patience: float = 0.15
    """Share of a swap's cost, there and back, that an idle model is kept for."""
    min_visit: float = 5.0
    """Shortest visit of a busy model, in swap costs there and back."""

    _lines: dict[str, Line] = field(factory=dict)
    """By model; never an empty one."""
    _visits: dict[str, Visit] = field(factory=dict)
    _slots: dict[str, int] = field(factory=dict)
    """What ready upstreams said of themselves."""
    _gated: dict[str, str] = field(factory=dict)
    """Closed gates: victim to newcomer."""
    _blocked: list[str] = field(factory=list)
    """Overdue models that cannot start yet: nobody who is in their way may start before them."""
    _debt_paid: bool = False
    """Whether a visit was granted the last request it owed, since somebody looked."""
    _plans: dict[str, Sequence[tuple[str, ...]]] = field(factory=dict)
    """The planner's plans for those that run now."""
    _wake: float = math.inf
    _moved: set[str] = field(factory=set)
    """Models whose lines moved since places were told."""
    _publish_at: float = math.inf
    _waits: dict[str, float] = field(factory=dict)
    """Seconds the last in each line was expected to wait when somebody looked."""
    _all_served: float = 0.0
    """Seconds until all of them were expected to be served."""
    _waits_at: float = -math.inf

    def next_wakeup(self) -> float:
        """When a ttl or a hold ends, somebody is overdue, a floor is reached, places are told."""
        wake = min(self._wake, self._publish_at)
        return min(wake, super().next_wakeup()) if self._idle_since else wake

    # --- what the common part asks ----------------------------------------------------------------

    def _full(self, model: str, rule: ModelRules) -> LlamaswapError | None:
        line = self._lines.get(model)
        if line is None or len(line) < self.max_queue:
            return None
        wait = max(math.ceil(self._expected_wait(model)), 1)
        return TooManyRequests(
            f"{len(line)} requests wait for {model} already; expect about {wait} s",
            retry_after=wait,
        )

    def _place(self, request: Request) -> None:
        model = request.model
        self.costs.note_arrival(model, self._now)
        line = self._lines.get(model)
        if line is not None:
            place = line.join(request)
            if place < len(line):
                self._mark_moved(model)
            self._tell(request, place)
            return
        if self._open(model):
            self._grant(request)
            return
        line = self._lines[model] = Line()
        self._tell(request, line.join(request))
        # the others wait for what they waited for before; only the newcomer may have luck
        if not self._is_up(model) and not self._consider(model):
            self._watch_age(model)

    def _unqueue(self, request: Request) -> None:
        model = request.model
        line = self._lines[model]
        line.leave(request)
        if (visit := self._visits.get(model)) is not None:
            visit.owed.discard(request.ticket)
        if line:
            self._mark_moved(model)
        else:
            del self._lines[model]

    def _left(self, request: Request) -> None:
        aged = self.max_wait and self._now - request.arrived >= self.max_wait
        if aged or request.model not in self._lines or self._owes_nothing_now(request.model):
            self._decide()  # a gate may open or may close

    def _owes_nothing_now(self, model: str) -> bool:
        visit = self._visits.get(model)
        return visit is not None and not visit.owed

    def _served(self, request: Request, idle: bool) -> None:
        model = request.model
        self.costs.note_service(model, self._now - request.granted_at)
        if idle:
            self.costs.note_idle(model, self._now)
            if (visit := self._visits.get(model)) is not None:
                visit.idle_since = self._now
        if not self._lines:
            return
        self._debt_paid = False
        if not idle:
            self._serve(model)
        if idle or self._debt_paid:
            self._decide()

    def _finish(self, job: Job, error: LlamaswapError | None) -> None:
        # those who came after a cancellation wait for the next job
        if error is None or job.cancelled:
            return
        line = self._lines.get(job.target)
        for request in list(line) if line is not None else []:
            self._effects.append(Refuse(request.ticket, error))
            self._unqueue(request)
            self._forget(request)

    def _line_up(self, waiting: list[Request], predecessor: Bookkeeping) -> None:
        for request in waiting:
            request.job = None
            self._lines.setdefault(request.model, Line()).join(request)
        self._moved.update(self._lines)
        self._publish_at = self._now + PUBLISH_EVERY if self._moved else math.inf
        if isinstance(predecessor, Batch):
            self._visits = predecessor._visits  # noqa: SLF001  # one of us
            self._slots = predecessor._slots  # noqa: SLF001
            still = {request.ticket for request in waiting}
            for visit in self._visits.values():
                visit.owed &= still
            return
        for model, state in self._states.items():
            if state is ProcessState.READY:
                self._entered(model, state)

    def _entered(self, model: str, state: ProcessState) -> None:
        if state is not ProcessState.READY:
            self._visits.pop(model, None)
            return
        line = self._lines.get(model)
        owed = {request.ticket for request in line} if line is not None else set()
        idle_since = None if self._serving.get(model) else self._now
        job = self._jobs.get(model)
        since = job.began if job is not None else self._now
        self._visits[model] = Visit(since, owed, idle_since)

    def _on_slots(self, model: str, slots: int) -> None:
        if slots > 0:
            self._slots[model] = slots
            self._decide()

    def _on_tick(self) -> None:
        self._stop_expired()
        self._decide()  # also forgets a wake-up for somebody who is gone
        if self._now >= self._publish_at:
            self._publish()

    def _grant(self, request: Request) -> None:
        super()._grant(request)
        visit = self._visits[request.model]
        visit.idle_since = None
        if visit.owed:
            visit.owed.discard(request.ticket)
            self._debt_paid = self._debt_paid or not visit.owed

    def _forget_running(self) -> None:
        super()._forget_running()
        self._plans.clear()

    # --- deciding ---------------------------------------------------------------------------------

    def _decide(self) -> None:
        """Close and open gates, grant what may be granted, start what may start; best first."""
        while self._look_around():  # a job that began changes who is in whose way
            pass

    def _look_around(self) -> bool:
        """Decide once. True: a job began, or a visit paid what it owed; look again."""
        self._wake = math.inf
        self._blocked = []
        self._gated = {}
        if self._closed or not self._lines:
            return False
        wanted = [model for model in self._lines if not self._is_up(model)]
        overdue = self._overdue(wanted)
        if overdue:
            self._close_gates(overdue)
        self._debt_paid = False
        for model in [model for model in self._lines if model in self._visits]:  # the ready ones
            self._serve(model)
        if self._debt_paid and overdue:
            return True  # its gate may close now
        for model in overdue:
            evict = self._may_start(model, overdue=True)
            if evict is not None:
                self._start_job(model, evict, self._why(evict, overdue=True))
                return True
            self._blocked.append(model)
        ready_to_go = [model for model in wanted if model not in overdue and self._is_free(model)]
        if not ready_to_go:
            return False
        best = min(ready_to_go, key=self._rank) if len(ready_to_go) > 1 else ready_to_go[0]
        return self._consider(best)

    def _is_free(self, model: str) -> bool:
        """Whether nothing keeps `model` from starting; if something does, watch for its age."""
        if self._may_start(model) is not None:
            return True
        self._watch_age(model)
        return False

    def _serve(self, model: str) -> None:
        """Grant to a ready model what its window has room for."""
        while (line := self._lines.get(model)) is not None and self._open(model):
            request = line.pop()
            if line:
                self._mark_moved(model)
            else:
                del self._lines[model]
            self._grant(request)

    def _open(self, model: str) -> bool:
        """Whether one more request may be granted to `model` now."""
        if self._states.get(model) is not ProcessState.READY or model in self._gated:
            return False
        serving = self._serving.get(model)
        if serving and len(serving) >= self._window(model):
            return False
        if self._jobs and self._in_job(model):
            return False
        return not self._evictions_for(model)

    def _window(self, model: str) -> int:
        """How many requests of `model` may be in flight."""
        rule = self.rules.get(model)
        if rule is None:
            return 0
        return rule.slots or self._slots.get(model) or rule.limit

    def _is_up(self, model: str) -> bool:
        """Whether `model` needs no swap: it is ready and nobody has to go for it."""
        return self._states.get(model) is ProcessState.READY and not self._evictions_for(model)

    def _overdue(self, wanted: list[str]) -> list[str]:
        """Those whose oldest request waited too long, the longest first."""
        if not self.max_wait:
            return []
        lines = self._lines
        late = [m for m in wanted if self._now >= lines[m].oldest + self.max_wait]
        if len(late) > 1:
            late.sort(key=lambda model: (lines[model].oldest, lines[model].requests[0].order))
        return late

    def _rank(self, model: str) -> tuple[int, float, int]:
        """Priority first, then most waiting relieved per second. Source: scheduling §2 rule 6."""
        line = self._lines[model]
        backlog = len(line) * self.costs.service(model) / max(self._window(model), 1)
        gain = line.age(self._now) / (self.costs.load(model) + backlog + INSTANT)
        return (-line.priority, -gain, line.requests[0].order)

    def _watch_age(self, model: str) -> None:
        if self.max_wait:
            self._wake = min(self._wake, self._lines[model].oldest + self.max_wait)

    def _consider(self, model: str) -> bool:
        """Start a job for `model` if nothing speaks against it. False: it has to wait."""
        evict = self._may_start(model)
        if evict is None:
            return False
        self._start_job(model, evict, self._why(evict, overdue=False))
        return True

    def _may_start(self, model: str, *, overdue: bool = False) -> tuple[str, ...] | None:
        """Whom a job for `model` would stop, if it may begin now. None: it has to wait."""
        if model in self._jobs:
            return None
        if self._blocked and any(self._conflicts(first, model) for first in self._blocked):
            return None
        evict = self._plan(model)
        if evict is None:
            return None
        for victim in evict:
            if self._serving.get(victim):
                return None
        if not (overdue and self._visits_were_worth_it(model, evict)):
            until = self._held_until(model, evict)
            if until > self._now:
                self._wake = min(self._wake, until)
                self._explain_hold(model, evict, until)
                return None
        return evict

    # --- whom to evict ----------------------------------------------------------------------------

    def _plan(self, model: str) -> tuple[str, ...] | None:
        """The best of the legal evictions. None: each is in the way of a job under way."""
        plans = self._plans.get(model)
        if plans is None:
            plans = self._plans[model] = self.planner.plans(model, self._beside(model))
        if self._jobs:
            plans = [plan for plan in plans if not self._collides(model, plan)]
        if len(plans) > 1:
            return min(plans, key=self._price)
        return plans[0] if plans else None

    def _price(self, evict: tuple[str, ...]) -> tuple[bool, float]:
        """Busy victims last, then what their return is expected to cost. Source: rule 3."""
        busy = any(self._serving.get(victim) for victim in evict)
        return busy, sum(
            self.planner.weight(victim)
            * (self.costs.unload(victim) + self.costs.load(victim))
            * (self.costs.rate(victim, self._now) + RARE)
            for victim in evict
        )

    def _held_until(self, model: str, evict: tuple[str, ...]) -> float:
        """Until when idle victims are kept for their own clients. Source: rule 4."""
        until = -math.inf
        for victim in evict:
            visit = self._visits.get(victim)
            if visit is not None and visit.idle_since is not None:
                until = max(until, visit.idle_since + self._patience(victim, model, visit))
        return until

    def _patience(self, victim: str, model: str, visit: Visit) -> float:
        assert visit.idle_since is not None
        pause = self.costs.pause(victim)
        if pause is not None:
            worth = self.patience * self.costs.exchange(victim, model)
            wanted = pause * PAUSE_MARGIN + PAUSE_SLACK
            return wanted if wanted <= worth else 0.0
        # the rate as it was when the pause began: one that fades would move the end of the hold
        rate = self.costs.rate(victim, visit.idle_since)
        worth = self.patience * self.costs.exchange(victim, model)
        if rate * worth > 0.5:
            return min(worth, 2.0 / rate)
        return min(SHORT_HOLD, 0.1 * worth)

    def _visits_were_worth_it(self, model: str, evict: tuple[str, ...]) -> bool:
        """Whether the floors of rule 5 are reached; else a wake-up is set for when they are."""
        floor = -math.inf
        for victim in evict:
            visit = self._visits.get(victim)
            if visit is None:
                continue
            if visit.owed:
                return False  # its last grant comes as an event
            floor = max(floor, visit.since + self.min_visit * self.costs.exchange(victim, model))
        if floor > self._now:
            self._wake = min(self._wake, floor)
            return False
        return True

    def _close_gates(self, overdue: list[str]) -> None:
        """Grant nothing more to busy models that an overdue one waits for. Source: rule 5."""
        ahead: list[str] = []
        for model in overdue:
            if model in self._jobs or any(self._conflicts(first, model) for first in ahead):
                continue
            ahead.append(model)
            evict = self._plan(model)
            if not evict or not self._visits_were_worth_it(model, evict):
                continue
            # also where it is idle now: else whoever came first would be granted first
            self._gated.update(dict.fromkeys(evict, model))
            if any(self._serving.get(victim) for victim in evict):
                self._explain_gate(model, evict)

    # --- explaining -------------------------------------------------------------------------------

    def _why(self, evict: tuple[str, ...], overdue: bool) -> str:
        if overdue:
            return "it waited longer than maxWait"
        if not evict:
            return "nothing has to go for it"
        names = ", ".join(evict)
        return f"{names} {'are' if len(evict) > 1 else 'is'} idle and patience is over"

    def _explain_hold(self, model: str, evict: tuple[str, ...], until: float) -> None:
        if self._first_telling(DecisionKind.HOLD, model, evict):
            reason = f"its next request is expected within {until - self._now:.1f} s"
            self._effects.append(
                self._decision(DecisionKind.HOLD, model, evict, reason, until - self._now)
            )

    def _explain_gate(self, model: str, evict: tuple[str, ...]) -> None:
        if self._first_telling(DecisionKind.GATE, model, evict):
            reason = f"it waited longer than {self.max_wait:g} s"
            wait = max((self.costs.service(v) for v in evict if self._serving.get(v)), default=0.0)
            self._effects.append(
                self._decision(
                    DecisionKind.GATE, model, evict, reason, wait + self._swap_time(model, evict)
                )
            )

    def _first_telling(self, kind: DecisionKind, model: str, evict: tuple[str, ...]) -> bool:
        """Whether this was not said yet in the present visits: pauses come by the dozen."""
        visits = [visit for victim in evict if (visit := self._visits.get(victim)) is not None]
        known = all((kind, model) in visit.told for visit in visits)
        for visit in visits:
            visit.told.add((kind, model))
        return not known

    # --- places and expected waits ----------------------------------------------------------------

    def _tell(self, request: Request, place: int) -> None:
        if request.position != place:
            request.position = place
            wait = self._expected_wait(request.model)
            self._effects.append(Position(request.ticket, place, wait))

    def _mark_moved(self, model: str) -> None:
        self._moved.add(model)
        if self._publish_at == math.inf:
            self._publish_at = self._now + PUBLISH_EVERY

    def _publish(self) -> None:
        for model in sorted(self._moved):
            for place, request in enumerate(self._lines.get(model, ()), 1):
                self._tell(request, place)
        self._moved.clear()
        self._publish_at = math.inf

    def _expected_wait(self, model: str) -> float:
        """Seconds the last in line is expected to wait; a fresh look twice a second.

        A line that began since then is counted as the last to be served.
        """
        if self._now - self._waits_at >= PUBLISH_EVERY:
            self._estimate()
            self._waits_at = self._now
        wait = self._waits.get(model)
        if wait is None:
            if self._is_up(model):
                wait = self._backlog(model, self._lines[model])
            else:
                wait = self._all_served + self._swap_time(model, self._evictions_for(model))
            self._waits[model] = wait
        return wait

    def _estimate(self) -> None:
        """As if lines were served one after the other, best first, each to its end."""
        wanted = [model for model in self._lines if not self._is_up(model)]
        wanted.sort(key=self._rank)
        waits = {
            model: self._backlog(model, line)
            for model, line in self._lines.items()
            if self._is_up(model)
        }
        clock = max((self._job_time_left(job) for job in self._jobs.values()), default=0.0)
        clock += max(
            (self.costs.service(m) for m, busy in self._serving.items() if busy), default=0
        )
        for model in wanted:
            job = self._jobs.get(model)
            if job is not None and not job.cancelled:
                waits[model] = self._job_time_left(job)
                continue
            clock += self._swap_time(model, self._evictions_for(model))
            waits[model] = clock
            clock += self._backlog(model, self._lines[model])
        self._waits, self._all_served = waits, clock

    def _backlog(self, model: str, line: Line) -> float:
        return len(line) * self.costs.service(model) / max(self._window(model), 1)
