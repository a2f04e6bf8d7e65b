"""Every order in which a small life can go: two models, three requests, and what disturbs them.

`python -m tests.property.interleavings [--deep]` prints how many were explored. A state is reached
again by replaying the steps that led to it, and states that look alike are gone through once; the
number of orders is counted over all ways through them. Source: scheduling §4.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence

from attrs import define, field, frozen

from llamaswap.config.schema import DEFAULT_GROUP, Group
from llamaswap.config.schema import Matrix as MatrixSettings
from llamaswap.errors import StartAborted, UpstreamExited
from llamaswap.planning.batch import Batch
from llamaswap.planning.bookkeeping import Bookkeeping, Request
from llamaswap.planning.events import (
    Arrived,
    CancelJob,
    Effect,
    Event,
    Grant,
    JobDone,
    JobId,
    ProcessState,
    Refuse,
    Released,
    StartJob,
    StateChanged,
    Stop,
    Tick,
    TicketId,
    Unload,
)
from llamaswap.planning.fifo import Fifo
from llamaswap.planning.groups import Groups
from llamaswap.planning.matrix import Matrix
from llamaswap.planning.planner import Planner
from llamaswap.planning.scheduler import ModelRules

S = ProcessState
DISTURBANCES = ("ttl", "unload", "cancel", "crash", "start failure", "reload")
REQUESTS = {"a1": "A", "b1": "B", "a2": "A"}
PLANNERS: dict[str, Planner] = {
    "groups": Groups({DEFAULT_GROUP: Group(members=("A", "B"))}),
    "matrix": Matrix(MatrixSettings(sets={"one": "A", "two": "B"})),
}
TOGETHER = Groups({"both": Group(members=("A", "B"), swap=False)})
"""What a reload brings."""
FORCED_WAITS = 50
"""Ticks after which somebody who still waits is taken to wait for ever."""


class Wrong(AssertionError):
    """A state that must not be; says how it was reached."""


class _Silent(Batch):
    """Tells nobody its place: what is only shown need not be gone through in every order."""

    def _tell(self, request: Request, place: int) -> None:
        pass

    def _mark_moved(self, model: str) -> None:
        pass


@frozen
class Life:
    """What is explored."""

    scheduler: type[Bookkeeping]
    planner: str
    disturbances: tuple[str, ...]
    early_waits: int = 0
    """How often time may pass while something else could happen; it always may when nothing can."""

    def fresh(self, planner: Planner) -> Bookkeeping:
        """The scheduler, empty."""
        ttl = 5.0 if "ttl" in self.disturbances else 0.0
        rules = {model: ModelRules(limit=10, slots=1, ttl=ttl) for model in "AB"}
        if self.scheduler is Fifo:
            return Fifo(rules=rules, planner=planner)
        return _Silent(rules=rules, planner=planner, max_wait=8.0, min_visit=0.2)


@define
class World:
    """One state of one life, and what may happen next."""

    life: Life
    scheduler: Bookkeeping = field(init=False)
    planner: Planner = field(init=False)
    now: float = 0.0
    outcome: dict[str, str] = field(factory=dict)
    states: dict[str, S] = field(factory=lambda: {"A": S.STOPPED, "B": S.STOPPED})
    jobs: dict[JobId, StartJob] = field(factory=dict)
    cancelled: set[JobId] = field(factory=set)
    stopping: list[str] = field(factory=list)
    used: list[str] = field(factory=list)
    waits: int = 0

    def __attrs_post_init__(self) -> None:
        self.planner = PLANNERS[self.life.planner]
        self.scheduler = self.life.fresh(self.planner)

    # --- what may happen --------------------------------------------------------------------------

    def steps(self) -> list[str]:
        """Everything that can happen now; empty: this life is over."""
        found = [f"+{name}" for name in REQUESTS if name not in self.outcome]
        found += [f"-{name}" for name, how in self.outcome.items() if how == "granted"]
        for job in self.jobs.values():
            found += self._steps_of(job)
        found += [f"stopped {model}" for model in dict.fromkeys(self.stopping)]
        found += self._disturbances()
        waits = self.scheduler.next_wakeup() < float("inf")
        if (
            waits
            and (self.waits < self.life.early_waits or not found)
            and (found or self._somebody_waits())
        ):
            found.append("wait")
        return found

    def _steps_of(self, job: StartJob) -> list[str]:
        target = job.target
        if job.job in self.cancelled:
            return [f"report {target}"]
        if self.states[target] in (S.STOPPED, S.STOPPING):
            return [f"start {target}"]
        if self.states[target] is S.STARTING:
            failing = self._may("start failure")
            return [f"ready {target}", *([f"fail {target}"] if failing else [])]
        return [f"ready {target}"]

    def _disturbances(self) -> list[str]:
        found = []
        if self._may("cancel"):
            found += [f"~{name}" for name, how in self.outcome.items() if how == "admitted"]
        if self._may("crash"):
            found += [f"crash {model}" for model, state in self.states.items() if state is S.READY]
        if self._may("unload") and self.outcome:
            found += ["unload A", "unload B"]
        if self._may("reload") and self.outcome:
            found.append("reload")
        return found

    def _may(self, disturbance: str) -> bool:
        return disturbance in self.life.disturbances and disturbance not in self.used

    def _somebody_waits(self) -> bool:
        return any(how == "admitted" for how in self.outcome.values())

    # --- what happens -----------------------------------------------------------------------------

    def do(self, step: str) -> None:
        """Let one step happen and check what must hold after it."""
        kind, _, model = step.partition(" ")
        match kind:
            case "ready" | "fail" | "report":
                self._end_job(self._job_of(model), kind)
            case "start":
                self._enter_starting(self._job_of(model))
            case "stopped":
                self.stopping.remove(model)
                self._enter(model, S.STOPPED)
            case "crash":
                self.used.append("crash")
                self._enter(model, S.STOPPED)
            case "unload":
                self.used.append("unload")
                self._tell(Unload((model,)))
            case "reload":
                self.used.append("reload")
                self.planner = TOGETHER
                before, self.scheduler = self.scheduler, self.life.fresh(TOGETHER)
                self._take(self.scheduler.take_over(before, self.now))
            case "wait":
                self.waits += 1
                self.now = max(self.now, self.scheduler.next_wakeup())
                self._tell(Tick())
            case _:
                self._request(kind[0], kind[1:])

    def _request(self, sign: str, name: str) -> None:
        ticket = TicketId(list(REQUESTS).index(name) + 1)
        if sign == "+":
            self.outcome[name] = "admitted"
            self._tell(Arrived(ticket, REQUESTS[name]))
            return
        if sign == "~":
            self.used.append("cancel")
        self.outcome[name] = "over"
        self._tell(Released(ticket))

    def _enter_starting(self, job: StartJob) -> None:
        for victim in job.evict:
            self._enter(victim, S.STOPPED)
        if self.states[job.target] is S.STOPPING:
            self._enter(job.target, S.STOPPED)
        self._require(
            not any(self.states[victim].resident for victim in job.evict), "started too early"
        )
        self._enter(job.target, S.STARTING)

    def _end_job(self, job: StartJob, how: str) -> None:
        target = job.target
        error: UpstreamExited | StartAborted | None = None
        if how == "report":
            for victim in job.evict:
                self._enter(victim, S.STOPPED)
            if self.states[target].resident:
                self._enter(target, S.STOPPED)
            error = StartAborted("cancelled")
        elif how == "fail":
            self.used.append("start failure")
            self._enter(target, S.STOPPED)
            error = UpstreamExited("failed")
        else:
            for victim in job.evict:
                self._enter(victim, S.STOPPED)
            self._enter(target, S.READY)
        del self.jobs[job.job]
        self._tell(JobDone(job.job, error))

    def _enter(self, model: str, state: S) -> None:
        if self.states[model] is not state:
            self.states[model] = state
            if model in self.stopping and not state.resident:
                self.stopping.remove(model)
            self._tell(StateChanged(model, state))

    def _tell(self, event: Event) -> None:
        self._take(self.scheduler.handle(event, self.now))

    def _take(self, effects: Sequence[Effect]) -> None:
        names = list(REQUESTS)
        for effect in effects:
            match effect:
                case Grant(ticket=ticket):
                    name = names[ticket - 1]
                    self._require(self.outcome[name] == "admitted", f"{name} granted twice")
                    self._require(self.states[REQUESTS[name]] is S.READY, f"{name} granted to none")
                    self.outcome[name] = "granted"
                case Refuse(ticket=ticket):
                    self._require(self.outcome[names[ticket - 1]] == "admitted", "refused twice")
                    self.outcome[names[ticket - 1]] = "over"
                case StartJob():
                    self._on_start(effect)
                case CancelJob(job=job):
                    self.cancelled.add(job)
                case Stop(models=models):
                    for model in models:
                        if self.states[model].resident:
                            self._enter_stopping(model)
                            self.stopping.append(model)
                case _:
                    pass

    def _on_start(self, job: StartJob) -> None:
        double = any(other.target == job.target for other in self.jobs.values())
        self._require(not double, f"two jobs for {job.target}")
        other = "B" if job.target == "A" else "A"
        if self.planner is not TOGETHER and self.states[other].resident:
            self._require(other in job.evict, f"{job.target} beside {other}")
        for victim in job.evict:
            busy = any(
                how == "granted" and REQUESTS[name] == victim for name, how in self.outcome.items()
            )
            self._require(not busy or self.states[victim] is not S.READY, f"{victim} is busy")
            self._enter_stopping(victim)
        self.jobs[job.job] = job

    def _enter_stopping(self, model: str) -> None:
        if self.states[model] in (S.STARTING, S.READY):
            self._enter(model, S.STOPPING)

    def _job_of(self, model: str) -> StartJob:
        return next(job for job in self.jobs.values() if job.target == model)

    # --- checks -----------------------------------------------------------------------------------

    def _require(self, holds: bool, what: str) -> None:
        if not holds:
            raise Wrong(what)

    def check_end(self) -> None:
        """Everybody has an outcome and nothing is held any more."""
        waiting = [name for name, how in self.outcome.items() if how != "over"]
        self._require(not waiting, f"{waiting} wait for ever")
        self._require(not any(self.scheduler._held.values()), "slots are still held")

    def key(self) -> str:
        """What makes this state differ from another."""
        self.scheduler._effects = []
        return repr((self.now, self.outcome, self.states, self.jobs, sorted(self.cancelled),
                     self.stopping, sorted(self.used), self.waits, self.scheduler))  # fmt: skip


@define
class Explorer:
    """Goes through all states of one life, each once."""

    life: Life
    states: int = 0
    steps: int = 0
    _orders: dict[str, int] = field(factory=dict)

    def explore(self) -> int:
        """Return the number of different orders of events. Raises Wrong."""
        return self._from([])

    def _from(self, path: list[str]) -> int:
        world = World(self.life)
        try:
            for step in path:
                world.do(step)
        except (Wrong, AssertionError, KeyError, ValueError) as exc:
            raise Wrong(f"{self.life}: {exc!r} after {' · '.join(path)}") from exc
        key = world.key()
        known = self._orders.get(key)
        if known is not None:
            return known
        self.states += 1
        steps = world.steps()
        if not steps or len(path) > 2 * FORCED_WAITS:
            try:
                world.check_end()
            except Wrong as exc:
                raise Wrong(f"{self.life}: {exc} after {' · '.join(path)}") from exc
            self._orders[key] = 1
            return 1
        self.steps += len(steps)
        orders = sum(self._from([*path, step]) for step in steps)
        self._orders[key] = orders
        return orders


def lives(together: int, early_waits: int = 0) -> list[Life]:
    """Both schedulers, both planners, every choice of `together` disturbances."""
    return [
        Life(scheduler, planner, chosen, early_waits)
        for scheduler in (Fifo, Batch)
        for planner in PLANNERS
        for chosen in itertools.combinations(DISTURBANCES, together)
    ]


def explore(chosen: Sequence[Life], say: Callable[[str], None]) -> int:
    """Explore lives; say for each how many orders there are; return the sum."""
    total = 0
    for life in chosen:
        explorer = Explorer(life)
        orders = explorer.explore()
        total += orders
        say(
            f"{life.scheduler.__name__:6} {life.planner:7} {' + '.join(life.disturbances):28} "
            f"{orders:>26,} orders through {explorer.states:,} states"
        )
    say(f"explored: {total:,} orders of events, nobody wedged, nobody lost, nobody started twice")
    return total


if __name__ == "__main__":
    deep = "--deep" in sys.argv
    explore([*lives(1, 1), *lives(2)] if deep else lives(1, 1), print)
