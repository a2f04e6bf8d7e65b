"""Random life for both schedulers with both planners: whatever happens, the invariants hold.

Source: lifecycle §7, I1–I13, I16, I17, I22. (I14, I15, I18–I21 are about processes and the program:
tests/integration.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from llamaswap.config.schema import DEFAULT_GROUP, Group
from llamaswap.config.schema import Matrix as MatrixSettings
from llamaswap.errors import StartAborted, UpstreamExited
from llamaswap.planning.batch import Batch
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
from llamaswap.planning.fifo import Fifo
from llamaswap.planning.groups import Groups
from llamaswap.planning.matrix import Matrix
from llamaswap.planning.scheduler import ModelRules

S = ProcessState
MODELS = "ABCDE"
EXPRESSIONS = st.recursive(
    st.sampled_from(MODELS),
    lambda inner: st.builds(
        lambda operator, parts: f"({operator.join(parts)})",
        st.sampled_from([" & ", " | "]),
        st.lists(inner, min_size=2, max_size=3),
    ),
    max_leaves=6,
)
WINDOW = 3  # requests in flight that a model's server works on until it says otherwise
MAX_QUEUE = 3


class SchedulerMachine(RuleBasedStateMachine):
    """Plays clients, processes and operators against one scheduler."""

    kind: ClassVar[type[Bookkeeping]]
    by_matrix: ClassVar[bool]

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.next_ticket = 0
        self.model_of: dict[TicketId, str] = {}
        self.outcome: dict[TicketId, str] = {}  # admitted, granted, refused, released
        self.positions: dict[TicketId, int] = {}
        self.states: dict[str, S] = dict.fromkeys(MODELS, S.STOPPED)
        self.jobs: dict[JobId, StartJob] = {}
        self.cancelled: set[JobId] = set()
        self.seen_jobs: set[JobId] = set()
        self.stopping: dict[str, StopReason] = {}
        self.idle_since: dict[str, float] = {}
        self.granted_order: list[TicketId] = []
        self.history: list[tuple[Event | Groups | Matrix, float]] = []
        self.before_reload: set[JobId] = set()
        self.window: dict[str, int] = {}
        self.closed = False

    @initialize(
        kinds=st.lists(
            st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=3, max_size=3
        ),
        where=st.lists(st.integers(0, 3), min_size=5, max_size=5),
        limits=st.lists(st.integers(1, 4), min_size=5, max_size=5),
        priorities=st.lists(st.integers(-1, 2), min_size=5, max_size=5),
        ttls=st.lists(st.sampled_from([0.0, 0.0, 5.0]), min_size=5, max_size=5),
        max_wait=st.sampled_from([0.0, 0.0, 10.0]),
        texts=st.lists(EXPRESSIONS, min_size=1, max_size=3),
    )
    def set_up(
        self,
        kinds: list[tuple[bool, bool, bool]],
        where: list[int],
        limits: list[int],
        priorities: list[int],
        ttls: list[float],
        max_wait: float,
        texts: list[str],
    ) -> None:
        self.rules_of = {
            model: ModelRules(limit=limits[at], priority=priorities[at], ttl=ttls[at])
            for at, model in enumerate(MODELS)
        }
        self.max_wait = max_wait
        self.planner = self.new_planner(kinds, where, texts)
        self.first_planner = self.planner
        self.scheduler = self.fresh()

    def new_planner(
        self, kinds: list[tuple[bool, bool, bool]], where: list[int], texts: list[str]
    ) -> Groups | Matrix:
        if self.by_matrix:
            sets = {f"s{number}": text for number, text in enumerate(texts)}
            return Matrix(MatrixSettings(sets=sets, evict_costs={"A": 3}))
        groups = {DEFAULT_GROUP: Group(members=self.members(where, 3))}
        for number, (swap, exclusive, persistent) in enumerate(kinds):
            groups[f"g{number}"] = Group(
                members=self.members(where, number),
                swap=swap,
                exclusive=exclusive,
                persistent=persistent,
            )
        return Groups(groups)

    def members(self, where: Sequence[int], number: int) -> tuple[str, ...]:
        return tuple(model for at, model in enumerate(MODELS) if where[at] == number)

    def fresh(self, planner: Groups | Matrix | None = None) -> Bookkeeping:
        planner = planner or self.planner
        if self.kind is Fifo:
            return Fifo(rules=self.rules_of, planner=planner, max_wait=self.max_wait)
        return Batch(
            rules=self.rules_of,
            planner=planner,
            max_wait=self.max_wait,
            max_queue=MAX_QUEUE,
            min_visit=0.2,
        )

    # --- driving ----------------------------------------------------------------------------------

    def tell(self, event: Event) -> None:
        self.history.append((event, self.now))
        self.take(self.scheduler.handle(event, self.now))

    def take(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Admit(ticket=ticket):
                    assert self.outcome[ticket] == "new"
                    self.outcome[ticket] = "admitted"
                case Grant(ticket=ticket):
                    self.on_grant(ticket)
                case Refuse(ticket=ticket):
                    assert self.outcome[ticket] in ("new", "admitted")  # I1
                    self.outcome[ticket] = "refused"
                    self.positions.pop(ticket, None)
                case Position(ticket=ticket, position=place):
                    assert self.outcome[ticket] == "admitted"
                    self.positions[ticket] = place
                case StartJob():
                    self.on_start(effect)
                case CancelJob(job=job):
                    assert job in self.jobs
                    self.cancelled.add(job)
                case Stop(models=models, reason=reason):
                    self.on_stop(models, reason)
                case Decision():
                    assert effect.model in MODELS

    def on_grant(self, ticket: TicketId) -> None:
        model = self.model_of[ticket]
        assert self.outcome[ticket] == "admitted"
        assert self.states[model] is S.READY  # I5*
        for earlier in self.model_of:  # I9: same model and priority, in order of arrival
            if earlier < ticket and self.model_of[earlier] == model:
                assert self.outcome[earlier] != "admitted"
        self.outcome[ticket] = "granted"
        self.positions.pop(ticket, None)
        self.idle_since.pop(model, None)
        if self.kind is Batch:
            allowed = self.window.get(model, self.rules_of[model].limit)
            assert len(self.in_flight(model)) <= allowed

    def on_start(self, job: StartJob) -> None:
        assert not self.closed
        assert job.job not in self.seen_jobs
        self.seen_jobs.add(job.job)
        assert all(other.target != job.target for other in self.jobs.values())  # I6
        for other in self.jobs.values():
            assert other.target not in job.evict
            assert job.target not in other.evict
            assert not set(other.evict) & set(job.evict)
        assert any(  # I8
            self.model_of[t] == job.target and how == "admitted" for t, how in self.outcome.items()
        )
        for victim in job.evict:
            assert not self.in_flight(victim)  # I5
        running = [m for m in MODELS if self.states[m].resident or m in self.targets()]
        if self.states[job.target] is S.STOPPING:
            running.remove(job.target)  # it ends: a fresh start pushes out what it must
        assert job.evict in self.planner.plans(job.target, running)
        self.jobs[job.job] = job
        for ticket in list(self.positions):
            waits = self.model_of[ticket] == job.target and self.outcome[ticket] == "admitted"
            if waits and self.kind is Fifo:  # who waits for a job has no place in its queue
                del self.positions[ticket]
        for victim in job.evict:
            self.enter(victim, S.STOPPING)

    def targets(self) -> set[str]:
        return {job.target for job in self.jobs.values()}

    def on_stop(self, models: tuple[str, ...], reason: StopReason) -> None:
        for model in models:
            if reason is StopReason.TTL:  # I16
                assert not self.in_flight(model)
                idle = self.now - self.idle_since[model]
                assert idle > self.rules_of[model].ttl > 0
                assert all(
                    model != job.target and model not in job.evict for job in self.jobs.values()
                )
            if self.states[model].resident:
                self.stopping[model] = reason
                self.enter(model, S.STOPPING)

    def enter(self, model: str, state: S) -> None:
        old = self.states[model]
        if old is state or (state is S.STOPPING and not old.resident):
            return
        self.states[model] = state
        self.idle_since.pop(model, None)
        if state is S.READY and not self.in_flight(model):
            self.idle_since[model] = self.now
        if state is S.STARTING:
            self.check_exclusion(model)
        self.tell(StateChanged(model, state))

    def in_flight(self, model: str) -> set[TicketId]:
        return {
            ticket
            for ticket, how in self.outcome.items()
            if how == "granted" and self.model_of[ticket] == model
        }

    # --- what may happen --------------------------------------------------------------------------

    @rule(model=st.sampled_from(MODELS + "?"))
    def arrive(self, model: str) -> None:
        self.next_ticket += 1
        ticket = TicketId(self.next_ticket)
        self.model_of[ticket] = model
        self.outcome[ticket] = "new"
        self.tell(Arrived(ticket, model))
        assert self.outcome[ticket] != "new"

    @precondition(lambda self: any(h in ("admitted", "granted") for h in self.outcome.values()))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        open_ones = [t for t, how in self.outcome.items() if how in ("admitted", "granted")]
        ticket = data.draw(st.sampled_from(open_ones))
        model, was = self.model_of[ticket], self.outcome[ticket]
        self.outcome[ticket] = "released"
        self.positions.pop(ticket, None)
        if was == "granted" and not self.in_flight(model) and self.states[model] is S.READY:
            self.idle_since[model] = self.now
        self.tell(Released(ticket))

    @rule(data=st.data())
    def release_something_long_over(self, data: st.DataObject) -> None:
        over = [t for t, how in self.outcome.items() if how in ("refused", "released")]
        if over:
            self.tell(Released(data.draw(st.sampled_from(over))))

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), succeeds=st.booleans())
    def finish_a_job(self, data: st.DataObject, succeeds: bool) -> None:
        job = self.jobs[data.draw(st.sampled_from(sorted(self.jobs)))]
        for victim in job.evict:
            if self.states[victim] is S.STOPPING:
                self.enter(victim, S.STOPPED)
        target = job.target
        error: UpstreamExited | StartAborted | None = None
        if job.job in self.cancelled:
            if self.states[target].resident:
                self.enter(target, S.STOPPING)
                self.enter(target, S.STOPPED)
            error = StartAborted("cancelled")
        else:
            if self.states[target] is S.STOPPING:
                self.enter(target, S.STOPPED)
            if self.states[target] is S.STOPPED:
                for other in job.evict:  # I7
                    assert not self.states[other].resident
                self.enter(target, S.STARTING)
            if self.states[target] is S.STARTING:
                self.enter(target, S.READY if succeeds else S.STOPPED)
                error = None if succeeds else UpstreamExited("failed")
        if job.job in self.cancelled and error is None:
            error = StartAborted("cancelled")
        del self.jobs[job.job]
        self.cancelled.discard(job.job)
        self.tell(JobDone(job.job, error))

    @rule(number=st.integers(1, 50))
    def report_a_stale_job(self, number: int) -> None:
        if JobId(number) not in self.jobs:
            self.tell(JobDone(JobId(number)))  # I11

    @rule(model=st.sampled_from(MODELS))
    def crash(self, model: str) -> None:
        if self.states[model] is S.READY:
            self.enter(model, S.STOPPED)

    @precondition(lambda self: self.stopping)
    @rule(data=st.data())
    def finish_a_stop(self, data: st.DataObject) -> None:
        model = data.draw(st.sampled_from(sorted(self.stopping)))
        del self.stopping[model]
        if self.states[model] is S.STOPPING:
            self.enter(model, S.STOPPED)

    @rule(models=st.lists(st.sampled_from(MODELS), min_size=1, max_size=3, unique=True))
    def unload(self, models: list[str]) -> None:
        self.tell(Unload(tuple(models)))

    @rule(seconds=st.sampled_from([0.5, 3.0, 6.0, 11.0]))
    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while (wake := self.scheduler.next_wakeup()) <= end:
            assert wake > self.now - 1e9
            self.now = max(self.now, wake)
            before = len(self.history)
            self.tell(Tick())
            assert self.scheduler.next_wakeup() > wake or len(self.history) > before + 1
            if self.scheduler.next_wakeup() <= wake:
                break
        self.now = end
        self.tell(Tick())

    @rule(model=st.sampled_from(MODELS), slots=st.integers(1, 4))
    def learn_the_slots(self, model: str, slots: int) -> None:
        self.window[model] = slots
        self.tell(SlotsKnown(model, slots))

    @precondition(lambda self: not self.closed)
    @rule(
        kinds=st.lists(
            st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=3, max_size=3
        ),
        where=st.lists(st.integers(0, 3), min_size=5, max_size=5),
        texts=st.lists(EXPRESSIONS, min_size=1, max_size=3),
    )
    def reload(
        self, kinds: list[tuple[bool, bool, bool]], where: list[int], texts: list[str]
    ) -> None:
        before = self.scheduler
        self.planner = self.new_planner(kinds, where, texts)
        self.scheduler = self.fresh()
        self.before_reload.update(self.jobs)
        self.before_reload.add(JobId(0))
        self.history.append((self.planner, self.now))
        self.take(self.scheduler.take_over(before, self.now))

    @precondition(lambda self: len(self.history) > 30)
    @rule()
    def shut_down(self) -> None:
        self.closed = True
        self.tell(Shutdown())
        assert not any(how == "admitted" for how in self.outcome.values())

    # --- what always holds ------------------------------------------------------------------------

    def check_exclusion(self, starting: str) -> None:
        """I4: nobody starts beside a model that may not run with it."""
        if any(
            job.target == starting for job in self.jobs.values() if job.job in self.before_reload
        ):
            return  # it was decided by a configuration that is gone
        resident = [model for model in MODELS if self.states[model].resident]
        for other in resident:
            mutual = self.planner.evict(starting, [other]) and self.planner.evict(other, [starting])
            assert other == starting or not mutual, f"{starting} {other} {self.states} {self.jobs}"
        if self.by_matrix and not self.before_reload:
            assert len(resident) == 1 or self.planner.may_run_together(resident), resident

    @invariant()
    def counts_are_right(self) -> None:
        for model in MODELS if hasattr(self, "scheduler") else "":
            held = {
                ticket
                for ticket, how in self.outcome.items()
                if how in ("admitted", "granted") and self.model_of[ticket] == model
            }
            in_flight = self.in_flight(model)
            assert self.scheduler._held.get(model, set()) == held  # I2, I3
            assert self.scheduler._serving.get(model, set()) == in_flight
            if self.kind is Fifo:
                assert len(held) <= self.rules_of[model].limit
            else:
                assert len(held) - len(in_flight) <= MAX_QUEUE

    @invariant()
    def positions_are_one_to_n(self) -> None:
        """I9. `batch` counts per model, and tells places that moved twice a second."""
        if self.kind is Fifo:
            assert sorted(self.positions.values()) == list(range(1, len(self.positions) + 1))
        elif hasattr(self, "scheduler"):
            assert isinstance(self.scheduler, Batch)
            for model, line in self.scheduler._lines.items():
                if model not in self.scheduler._moved:
                    places = [self.positions[request.ticket] for request in line]
                    assert places == list(range(1, len(line) + 1))

    @invariant()
    def nobody_waits_who_could_go(self) -> None:
        """I10: deciding once more would change nothing."""
        if not hasattr(self, "scheduler") or self.closed:
            return
        self.scheduler._effects = []
        self.scheduler._decide()
        again = [e for e in self.scheduler._effects if not isinstance(e, Position)]
        assert again == [], f"{again} {self.states} {self.jobs}"

    def teardown(self) -> None:
        """I12 without a guard: once arrivals stop, everybody gets an outcome. I22: replayable."""
        if not hasattr(self, "scheduler"):
            return
        replay = self.fresh(self.first_planner)
        for event, now in self.history:
            if isinstance(event, Groups | Matrix):
                before, replay = replay, self.fresh(event)
                replay.take_over(before, now)
            else:
                replay.handle(event, now)
        assert replay._held == self.scheduler._held
        assert replay._serving == self.scheduler._serving
        assert list(replay._jobs) == list(self.scheduler._jobs)
        for _ in range(400):
            open_ones = [t for t, how in self.outcome.items() if how in ("admitted", "granted")]
            if not open_ones:
                break
            granted = [t for t in open_ones if self.outcome[t] == "granted"]
            if granted:
                ticket = granted[0]
                model = self.model_of[ticket]
                self.outcome[ticket] = "released"
                if not self.in_flight(model) and self.states[model] is S.READY:
                    self.idle_since[model] = self.now
                self.tell(Released(ticket))
            elif self.jobs:
                self.finish_first_job()
            elif self.stopping:
                model = min(self.stopping)
                del self.stopping[model]
                if self.states[model] is S.STOPPING:
                    self.enter(model, S.STOPPED)
            else:
                wake = self.scheduler.next_wakeup()
                assert wake < float("inf"), f"wedged: {open_ones} wait for nothing"
                self.now = max(self.now, wake)
                self.tell(Tick())
        assert not any(how in ("admitted", "granted") for how in self.outcome.values())
        assert not any(self.scheduler._held.values())

    def finish_first_job(self) -> None:
        job = self.jobs[min(self.jobs)]
        for victim in job.evict:
            if self.states[victim] is S.STOPPING:
                self.enter(victim, S.STOPPED)
        if job.job not in self.cancelled:
            if self.states[job.target] is S.STOPPING:
                self.enter(job.target, S.STOPPED)
            if self.states[job.target] is S.STOPPED:
                self.enter(job.target, S.STARTING)
            self.enter(job.target, S.READY)
        error = StartAborted("cancelled") if job.job in self.cancelled else None
        del self.jobs[job.job]
        self.cancelled.discard(job.job)
        self.tell(JobDone(job.job, error))


class FifoGroups(SchedulerMachine):
    kind = Fifo
    by_matrix = False


class FifoMatrix(SchedulerMachine):
    kind = Fifo
    by_matrix = True


class BatchGroups(SchedulerMachine):
    kind = Batch
    by_matrix = False


class BatchMatrix(SchedulerMachine):
    kind = Batch
    by_matrix = True


for machine in (FifoGroups, FifoMatrix, BatchGroups, BatchMatrix):
    machine.TestCase.settings = settings(
        max_examples=40,
        stateful_step_count=50,
        deadline=None,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking takes minutes
    )
TestFifoWithGroups = FifoGroups.TestCase
TestFifoWithMatrix = FifoMatrix.TestCase
TestBatchWithGroups = BatchGroups.TestCase
TestBatchWithMatrix = BatchMatrix.TestCase
