"""A small notation for scheduler traces, and the interpreter that plays them.

Steps are separated by ` · `; a step is an event and the effects it must have, in any order:

    +a1  request a1 for model A arrives      -a1  its response ends       ~a1  its client leaves
    ✓A   the job for A succeeds              ✗A   it fails                ⊗A   it reports cancelled
    A↓   A's leader exits                    ⊘A,B unload                  ⏻    shutdown
    @12  time is 12 s (a tick)

    swap A [B C] · serve a1 a2 · fail a1 · 404 z1 · 429 a2 · 503 a9 · stop A B · cancel A
    pos b1 c1 (the whole queue afterwards) · – nothing
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import define, field

from llamaswap.errors import StartAborted, UpstreamExited
from llamaswap.planning.events import (
    Admit,
    Arrived,
    CancelJob,
    Decision,
    Event,
    Grant,
    JobDone,
    Position,
    ProcessState,
    Refuse,
    Released,
    Shutdown,
    StartJob,
    StateChanged,
    Stop,
    Tick,
    TicketId,
    Unload,
)
from llamaswap.planning.scheduler import Scheduler

S = ProcessState


@define
class Stage:
    """Drives a scheduler the way the run loop and real processes would."""

    scheduler: Scheduler
    whole_queue: bool = True
    """Whether places count the whole queue (`fifo`) or those of one model (`batch`)."""
    now: float = 0.0
    tickets: dict[str, TicketId] = field(factory=dict)
    states: dict[str, ProcessState] = field(factory=dict)
    jobs: dict[str, StartJob] = field(factory=dict)
    positions: dict[str, int] = field(factory=dict)
    waits: dict[str, float] = field(factory=dict)
    seen: list[str] = field(factory=list)
    decisions: list[Decision] = field(factory=list)

    def play(self, text: str) -> None:
        """Play a transcript; fail at the first step whose effects differ."""
        for step in text.split(" · "):
            event, _, expected = step.strip().partition(" ")
            self.seen = []
            self.happen(event)
            self.check(step, expected.strip())

    def check(self, step: str, expected: str) -> None:
        wanted, queue = self.parse(expected)
        assert sorted(self.seen) == sorted(wanted), f"at {step!r}: {self.seen}"
        order = sorted(self.positions, key=lambda name: self.positions[name])
        if self.whole_queue:
            assert [self.positions[name] for name in order] == list(range(1, len(order) + 1))
        if queue is not None:
            assert order == queue, f"at {step!r}: queue is {order}"

    def parse(self, expected: str) -> tuple[list[str], list[str] | None]:
        wanted: list[str] = []
        queue: list[str] | None = None
        for part in re.split(r",\s*", expected):
            kind, _, rest = part.partition(" ")
            if kind in ("", "–"):
                continue
            if kind == "pos":
                queue = rest.split()
            elif kind == "swap":
                wanted.append(part)
            else:
                wanted += [f"{kind} {name}" for name in rest.split()]
        return wanted, queue

    def happen(self, event: str) -> None:
        sign, name = event[0], event[1:]
        match sign:
            case "+":
                self.tickets[name] = TicketId(len(self.tickets) + 1)
                self.tell(Arrived(self.tickets[name], self.model_of(name)))
            case "-" | "~":
                self.positions.pop(name, None)
                self.tell(Released(self.tickets[name]))
            case "✓":
                self.finish_evictions(name)
                self.enter(name, S.STARTING)
                self.enter(name, S.READY)
                self.tell(JobDone(self.jobs.pop(name).job))
            case "✗":
                self.finish_evictions(name)
                self.enter(name, S.STARTING)
                self.enter(name, S.STOPPED)
                self.tell(JobDone(self.jobs.pop(name).job, UpstreamExited("E")))
            case "⊗":
                self.finish_evictions(name)
                self.tell(JobDone(self.jobs.pop(name).job, StartAborted("aborted")))
            case "⊘":
                self.tell(Unload(tuple(name.split(","))))
            case "⏻":
                self.tell(Shutdown())
            case "@":
                self.now = float(name)
                self.tell(Tick())
            case _:
                assert event.endswith("↓"), event
                self.enter(event[:-1], S.STOPPED)

    def tell(self, event: Event) -> None:
        for effect in self.scheduler.handle(event, self.now):
            self.take(effect)

    def take(self, effect: object) -> None:
        match effect:
            case Admit() | CancelJob():
                pass
            case Decision():
                self.decisions.append(effect)
            case Grant(ticket=ticket):
                self.note("serve", ticket)
            case Refuse(ticket=ticket, error=error):
                kind = {404: "404", 429: "429", 503: "503"}.get(error.status, "fail")
                self.note(kind, ticket)
            case Position(ticket=ticket, position=place, wait=wait):
                self.positions[self.name_of(ticket)] = place
                self.waits[self.name_of(ticket)] = wait
            case StartJob(target=target, evict=evict):
                self.seen.append(f"swap {target} [{' '.join(evict)}]")
                self.jobs[target] = effect
                for waiting in list(self.positions):
                    if self.model_of(waiting) == target:
                        del self.positions[waiting]
                for victim in evict:
                    self.enter(victim, S.STOPPING)
            case Stop(models=models):
                self.seen += [f"stop {model}" for model in models]
                for model in models:
                    self.enter(model, S.STOPPING)
                    self.enter(model, S.STOPPED)
            case _:
                raise AssertionError(effect)

    def note(self, kind: str, ticket: TicketId) -> None:
        name = self.name_of(ticket)
        self.positions.pop(name, None)
        self.seen.append(f"{kind} {name}")

    def finish_evictions(self, target: str) -> None:
        for victim in self.jobs[target].evict:
            self.enter(victim, S.STOPPED)

    def enter(self, model: str, state: ProcessState) -> None:
        """Report a change as an upstream would: none when nothing changes."""
        old = self.states.get(model, S.STOPPED)
        if old is state or (state is S.STOPPING and not old.resident):
            return
        self.states[model] = state
        self.tell(StateChanged(model, state))

    def name_of(self, ticket: TicketId) -> str:
        return next(name for name, number in self.tickets.items() if number == ticket)

    def model_of(self, name: str) -> str:
        return name.rstrip("0123456789").upper()


def stage(scheduler: Scheduler, states: Mapping[str, ProcessState]) -> Stage:
    """A stage on which some models already run."""
    made = Stage(scheduler)
    for model, state in states.items():
        made.states[model] = state
        for effect in scheduler.handle(StateChanged(model, state), 0.0):
            made.take(effect)
    return made
