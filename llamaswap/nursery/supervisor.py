"""The root nursery of all upstreams, and the one task that owns scheduling state.

Requests and events go through the collation queue, a trio memory channel, into the run loop, which
feeds the scheduler and carries out its effects without ever waiting: what takes time becomes a
child task that reports back with an event. Source: lifecycle §2, §1.10, §1.11.
"""

from __future__ import annotations

import logging
import math
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import Protocol, TypeAlias

import trio
from attrs import define, field, frozen

from llamaswap.config.diff import same_process
from llamaswap.config.schema import Config, Model
from llamaswap.errors import (
    LlamaswapError,
    ModelUnknown,
    ShuttingDown,
    StartAborted,
    UpstreamError,
    UpstreamGone,
    UpstreamUnkillable,
)
from llamaswap.nursery.expectations import expectations
from llamaswap.nursery.facts import UpstreamFacts
from llamaswap.nursery.guardian import Guardian
from llamaswap.nursery.lease import Lease, WaitObserver
from llamaswap.nursery.process_group import signal_group
from llamaswap.nursery.scheduling_log import log_decision, log_steps
from llamaswap.nursery.slots import known_slots
from llamaswap.nursery.upstream import ModelLog, Run, Upstream
from llamaswap.nursery.waiting import Waiting
from llamaswap.planning.assemble import planner_for, scheduler_for
from llamaswap.planning.bookkeeping import Bookkeeping
from llamaswap.planning.costs import Costs
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
from llamaswap.planning.leaving import Leaving
from llamaswap.planning.planner import Planner

logger = logging.getLogger(__name__)

EVICTION_GRACE = 30  # seconds, where neither cmdStop nor an unloadTimeout says otherwise
DRAIN_LIMIT = 30.0  # seconds that requests of a changed or removed model may go on


class Logs(Protocol):
    """Where models' output goes."""

    def model(self, model: str) -> ModelLog:
        """The log of one model, made when it is first asked for."""
        ...


StateListener: TypeAlias = Callable[[str, ProcessState, ProcessState], None]
DecisionListener: TypeAlias = Callable[[Decision], None]


@frozen
class _UnloadCall:
    """`Unload` with an address to answer to: the runs that were to be stopped."""

    models: tuple[str, ...]
    reply: trio.MemorySendChannel[list[Run]]


@frozen
class _Reconfigure:
    """A new configuration, checked and whole."""

    config: Config
    done: trio.Event


@frozen
class _Adopt:
    """The second half of it: the upstreams are replaced, now the scheduler may decide anew."""

    config: Config
    done: trio.Event


_Message: TypeAlias = Event | _UnloadCall | _Reconfigure | _Adopt


@define(eq=False)
class _Job:
    """One swap under way."""

    effect: StartJob
    cancelled: bool = False
    launching: trio.CancelScope = field(factory=trio.CancelScope)


@define(eq=False)
class Supervisor:
    """Owns every upstream; hands out leases; knows what runs."""

    config: Config
    logs: Logs
    guardian: Guardian
    on_state: StateListener = lambda model, old, new: None
    """Told of every state change, in order, before the scheduler decides about it."""
    on_decision: DecisionListener = lambda decision: None
    """Told why each swap begins, and why one does not begin yet."""
    costs: Costs = field(factory=Costs)
    """What swaps and answers take; learned while we run."""

    _scheduler: Bookkeeping = field(init=False)
    _planner: Planner = field(init=False)
    _send: trio.MemorySendChannel[_Message] = field(init=False)
    _receive: trio.MemoryReceiveChannel[_Message] = field(init=False)
    _nursery: trio.Nursery = field(init=False)
    _upstreams: dict[str, Upstream] = field(factory=dict)
    _retired: set[Upstream] = field(factory=set)
    """Upstreams of changed and removed models that still drain or stop."""
    _held: dict[Upstream, set[TicketId]] = field(factory=dict)
    """Granted tickets by the process that serves them."""
    _idle: dict[Upstream, trio.Event] = field(factory=dict)
    _shown: dict[str, ProcessState] = field(factory=dict)
    _tickets: dict[TicketId, Waiting] = field(factory=dict)
    _jobs: dict[JobId, _Job] = field(factory=dict)
    _ids: Callable[[], int] = field(init=False)
    _runs: Callable[[], int] = field(init=False)
    _closing: bool = False
    _generation: int = 0
    """Counts the configurations."""
    _bell: trio.Event = field(factory=trio.Event)
    _wakeup: float = math.inf
    _deciding: bool = False
    """Whether the run loop runs."""
    _queued: int = 0
    """Messages in the channel: asking it when it is empty costs an exception."""
    _clock: Callable[[], float] = field(init=False)

    def __attrs_post_init__(self) -> None:
        # unbounded, but finite: at most one arrival and one release per client connection, and a
        # handful of messages per model; a bound would make a crash report wait for a client
        self._send, self._receive = trio.open_memory_channel[_Message](math.inf)
        self._ids = count(1).__next__
        self._runs = count(1).__next__
        self._planner = planner_for(self.config)
        self._scheduler = scheduler_for(self.config, self._planner, self.costs)

    # --- life -------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; then every process is killed. Call `shut_down` before, politely."""
        self._clock = trio.lowlevel.current_clock().current_time
        async with trio.open_nursery() as self._nursery:
            for model in self.config.models.values():
                self._upstreams[model.id] = self._new_upstream(model)
            self._nursery.start_soon(self._decide, name="run loop")
            task_status.started()

    async def shut_down(self, budget: float) -> None:
        """Stop every process side by side, with at most `budget` seconds of grace each.

        Requests that wait are failed at once; call it when those in flight have ended.
        """
        self.begin_shutdown()
        async with trio.open_nursery() as nursery:
            for upstream in {*self._upstreams.values(), *self._retired}:
                grace = min(float(upstream.model.unload_timeout), budget)
                nursery.start_soon(upstream.shut_down, grace)

    def begin_shutdown(self) -> None:
        """Fail everybody who waits; start nothing any more; leave alone what is in flight."""
        if not self._closing:
            self._closing = True
            self._post(Shutdown())

    def kill_everything(self) -> None:
        """SIGKILL every process group at once, for a program that leaves without waiting."""
        for upstream in {*self._upstreams.values(), *self._retired}:
            if upstream.pid is not None:
                signal_group(upstream.pid, signal.SIGKILL)

    # --- what proxy/ sees -------------------------------------------------------------------------

    def lease(self, model: str, observer: WaitObserver | None = None) -> Waiting:
        """Wait for `model` and hold it for the length of the block. See `LeaseSource`."""
        return Waiting(self, model, observer)

    def ready_lease(self, model: str) -> Lease | None:
        """The address of `model` if it is ready, held by nobody. See `LeaseSource`."""
        upstream = self._upstreams.get(model)
        if upstream is None or upstream.state is not ProcessState.READY:
            return None
        return self._lease_of(upstream)

    def state(self, model: str) -> ProcessState | None:
        """Where `model` is in its life. See `LeaseSource`."""
        upstream = self._upstreams.get(model)
        return None if upstream is None else upstream.state

    # --- what api/ sees ---------------------------------------------------------------------------

    def states(self) -> Mapping[str, ProcessState]:
        """Every configured local model's state now. For display; decisions are taken elsewhere."""
        return {model: upstream.state for model, upstream in self._upstreams.items()}

    def facts(self, model: str) -> UpstreamFacts:
        """What there is to tell about a model's upstream now. For display."""
        upstream = self._upstreams.get(model)
        if upstream is None:
            return UpstreamFacts()
        idle_since = self._scheduler.idle_since(model)
        reason = upstream.run.stop_reason if upstream.run is not None else None
        return UpstreamFacts(
            pid=upstream.pid,
            port=upstream.endpoint.port if upstream.endpoint is not None else None,
            idle=None if idle_since is None else self._clock() - idle_since,
            stop_reason=reason.value if reason is not None else "",
            failure=upstream.failure,
            exit_code=upstream.exit_code,
        )

    def displaced_by(self, model: str) -> tuple[str, ...]:
        """Who would have to go for `model`, as things are now. Others may decide meanwhile."""
        running = sorted(name for name, state in self.states().items() if state.resident)
        return self._planner.evict(model, running)

    def why_stopped(self, model: str) -> str:
        """Why the last process of `model` ended; empty: it had none yet. For display."""
        upstream = self._upstreams.get(model) or self._last_retired(model)
        return upstream.ended_by if upstream is not None else ""

    def leaders(self) -> Mapping[int, str]:
        """The model of every process that runs now, by the process's id. For display."""
        return {
            upstream.pid: upstream.model.id
            for upstream in {*self._upstreams.values(), *self._retired}
            if upstream.pid is not None
        }

    async def unload(self, models: Sequence[str]) -> None:
        """Stop these models (real ids), in-flight requests or not; return when they are stopped.

        Raises:
            UpstreamUnkillable: at least one process outlived SIGKILL.
        """
        reply, answer = trio.open_memory_channel[list[Run]](1)
        if not self._post(_UnloadCall(tuple(models), reply)):
            return  # every process was ended with the run loop
        stuck: UpstreamUnkillable | None = None
        for run in await answer.receive():
            await run.over.wait()
            stuck = stuck or run.stuck
        if stuck is not None:
            raise stuck

    async def reconfigure(self, config: Config) -> None:
        """Take a new, checked configuration; return when it decides about new requests.

        A model keeps its process unless what that was started with changed. Changed and removed
        ones drain for at most 30 s, stop, and only then may a successor start, or any other model
        at their address. Requests that wait are decided again.
        """
        done = trio.Event()
        expected = await expectations(config)
        if self._closing or not self._post(_Reconfigure(config, done)):
            raise ShuttingDown
        self.costs.expect(expected)
        await done.wait()

    # --- the run loop -----------------------------------------------------------------------------

    def _post(self, message: _Message) -> bool:
        """Put `message` into the collation queue. False: the run loop has ended."""
        if not self._enqueue(message):
            return False
        self._bell.set()
        return True

    def _enqueue(self, message: _Message) -> bool:
        try:
            self._send.send_nowait(message)
        except trio.BrokenResourceError:
            return False
        self._queued += 1
        return True

    async def _decide(self) -> None:
        """Run the loop: a turn whenever something was posted or a wake-up is due."""
        self._deciding = True
        try:
            while True:
                self._wakeup = self._scheduler.next_wakeup()
                if self._wakeup == math.inf:  # the usual case; a scope costs microseconds
                    await self._bell.wait()
                else:
                    with trio.move_on_at(self._wakeup):
                        await self._bell.wait()
                self._bell = trio.Event()
                if trio.current_time() >= self._wakeup:
                    self._post(Tick())
                self._turn()
        finally:
            self._deciding = False
            self._receive.close()

    def _turn(self) -> None:
        """Own all scheduling state: message by message, its effects out, none of them waits.

        A request that arrives or leaves takes the turn itself instead of waking the loop's task:
        that saves two task switches per request (decisions/0001-who-runs-the-run-loop.md). Nothing
        in here waits, so there is never more than one turn at a time.
        """
        now = self._clock()
        while self._queued:
            self._queued -= 1
            self._take(self._receive.receive_nowait(), now)
        self._heed_wakeup()

    def _heed_wakeup(self) -> None:
        if self._scheduler.next_wakeup() < self._wakeup:
            self._bell.set()

    def _take(self, message: _Message, now: float) -> None:
        match message:
            case Arrived() | Released():  # nearly always
                self._handle(message, now)
            case _UnloadCall(models=models, reply=reply):
                runs = [
                    upstream.run
                    for model in models
                    if (upstream := self._upstreams.get(model)) is not None
                    and upstream.run is not None
                    and upstream.state.resident
                ]
                self._handle(Unload(models), now)
                reply.send_nowait(runs)
            case _Reconfigure(config=config, done=done):
                self._replace(config, done)
            case _Adopt(config=config, done=done):
                before = self._scheduler
                self._scheduler = scheduler_for(config, self._planner, self.costs)
                self._apply(self._scheduler.take_over(before, now))
                done.set()
            case _:
                self._handle(message, now)

    def _handle(self, event: Event, now: float) -> None:
        effects = self._scheduler.handle(event, now)
        if logger.isEnabledFor(logging.DEBUG):
            log_steps(event, effects, {job.effect.target for job in self._jobs.values()})
        self._apply(effects)

    def _apply(self, effects: Iterable[Effect]) -> None:
        """Carry effects out in order; slow work becomes a child task that reports back."""
        for effect in effects:
            match effect:
                case Grant(ticket=ticket):
                    if (waiting := self._tickets.get(ticket)) is not None:
                        waiting.generation = self._generation
                        waiting.decide()
                case Admit(ticket=ticket):
                    waiting = self._tickets.get(ticket)
                    if waiting is not None and waiting.observer is not None:
                        waiting.observer.admitted()
                case Refuse(ticket=ticket, error=error):
                    if (waiting := self._tickets.get(ticket)) is not None:
                        waiting.decide(error)
                case Position(ticket=ticket, position=place, wait=wait):
                    waiting = self._tickets.get(ticket)
                    if waiting is not None and waiting.observer is not None:
                        waiting.observer.position(place, wait)
                case StartJob(job=number):
                    job = self._jobs[number] = _Job(effect)
                    self._nursery.start_soon(self._swap, job, name=f"swap to {effect.target}")
                case CancelJob(job=number):
                    # one that has ended reports in a message behind the one that cancels it
                    if (cancelled := self._jobs.get(number)) is not None:
                        cancelled.cancelled = True
                        cancelled.launching.cancel(reason="the job was cancelled")
                case Stop(models=models, reason=reason):
                    for model in models:
                        self._nursery.start_soon(self._stop, model, reason, name=f"stop {model}")
                case Decision():
                    log_decision(effect)
                    self.on_decision(effect)

    # --- child tasks ------------------------------------------------------------------------------

    async def _swap(self, job: _Job) -> None:
        """Stop the evictees side by side, then bring the target up; report exactly once."""
        target = job.effect.target
        error: LlamaswapError | None = None
        try:
            await self._evict(job.effect.evict)
            with job.launching:
                if not job.cancelled:
                    await self._launch(target)
            if job.cancelled:
                await self._stop_or_raise(target, StopReason.ABORT)
                error = StartAborted(f"<{target}> aborted: unloaded before it was ready")
        except LlamaswapError as exc:
            error = exc
        except Exception as exc:  # a bug must cost this job, not the scheduling of all others
            logger.exception("swap to <%s> failed because of a defect in llamaswap", target)
            error = LlamaswapError(f"<{target}> could not be started: {exc!r}")
        finally:
            del self._jobs[job.effect.job]
        self._post(JobDone(job.effect.job, error))

    async def _launch(self, target: str) -> None:
        """Bring the target up, or its successor if the configuration changed meanwhile."""
        while True:
            upstream = self._upstreams.get(target)
            if upstream is None:
                raise ModelUnknown(f"model {target} was removed from the configuration")
            await self._wait_for_address(upstream)
            try:
                await upstream.ensure_ready()
            except (UpstreamError, ShuttingDown):
                if self._upstreams.get(target) is upstream:
                    raise
            if self._upstreams.get(target) is upstream:
                return

    async def _wait_for_address(self, upstream: Upstream) -> None:
        """Let what a reload replaced be gone from the address before anything starts there.

        Until then its health check would be answered by the old process.
        """
        for other in list(self._retired):
            if other.shares_address(upstream) and other.has_process:
                await other.wait_over()

    async def _evict(self, models: Sequence[str]) -> None:
        if not models:
            return
        failures: list[LlamaswapError] = []

        async def one(model: str) -> None:
            try:
                await self._stop_or_raise(model, StopReason.EVICT)
            except LlamaswapError as exc:
                failures.append(exc)

        async with trio.open_nursery() as nursery:
            for model in models:
                nursery.start_soon(one, model)
        if failures:  # whose memory is still taken by an unkillable process cannot be loaded over
            raise failures[0]

    async def _stop(self, model: str, reason: StopReason) -> None:
        if reason is StopReason.TTL:
            logger.info("<%s> unloading: idle for its ttl", model)
        try:
            await self._stop_or_raise(model, reason)
        except UpstreamUnkillable as exc:
            logger.error("%s", exc)  # noqa: TRY400  # expected; the traceback says nothing

    async def _stop_or_raise(self, model: str, reason: StopReason) -> None:
        upstream = self._upstreams.get(model) or self._last_retired(model)
        if upstream is not None:
            await upstream.stop(self._grace(upstream.model, reason), reason)

    def _grace(self, model: Model, reason: StopReason) -> float:
        """Seconds between the polite stop and SIGKILL. Source: lifecycle §1.8, decision 6."""
        if reason is not StopReason.EVICT:
            return float(model.unload_timeout)
        if model.cmd_stop.strip():  # a `docker stop` must be able to finish
            return float(self.config.health_check_timeout)
        return float(model.unload_timeout if model.unload_timeout_set else EVICTION_GRACE)

    # --- upstreams --------------------------------------------------------------------------------

    def _new_upstream(self, model: Model, predecessor: Upstream | None = None) -> Upstream:
        upstream = Upstream(
            model=model,
            start_timeout=float(self.config.health_check_timeout),
            mark_owner=self.guardian.owner,
            nursery=self._nursery,
            log=self.logs.model(model.id),
            guardian=self.guardian,
            on_state=self._state_changed,
            next_run=self._runs,
            predecessor=predecessor,
        )
        self._held[upstream] = set()
        return upstream

    def _state_changed(self, model: str, _state: ProcessState) -> None:
        """An upstream, or the predecessor of one, changed its state."""
        upstream = self._upstreams.get(model) or self._last_retired(model)
        state = upstream.state if upstream is not None else ProcessState.STOPPED
        old = self._shown.get(model, ProcessState.STOPPED)
        if state is old:
            return
        self._shown[model] = state
        self.on_state(model, old, state)
        self._post(StateChanged(model, state))
        if state is ProcessState.READY and upstream is not None and not self._closing:
            self._ask_for_slots(upstream)

    def _ask_for_slots(self, upstream: Upstream) -> None:
        """Where the grant window is the server's to say (rule 1), let it say so once per run."""
        wanted = self.config.routing.scheduler == "batch"
        if wanted and upstream.model.concurrency_limit <= 0:
            model = upstream.model.id
            self._nursery.start_soon(self._learn_slots, upstream, name=f"slots of {model}")

    async def _learn_slots(self, upstream: Upstream) -> None:
        run, endpoint = upstream.run, upstream.endpoint
        assert endpoint is not None
        slots = await known_slots(endpoint, upstream.model.cmd)
        if slots is not None and upstream.run is run:
            logger.debug("<%s> works on %d requests at once", upstream.model.id, slots)
            self._post(SlotsKnown(upstream.model.id, slots))

    def _replace(self, config: Config, done: trio.Event) -> None:
        """Compare model by model; keep what did not change, retire the rest."""
        before, known_before = self._planner, self.config.models
        self.config = config
        self._generation += 1
        predecessors: dict[str, Upstream | None] = {}
        for model, upstream in list(self._upstreams.items()):
            description = config.models.get(model)
            if description is not None and same_process(upstream.model, description):
                upstream.adjust(description, float(config.health_check_timeout))
                continue
            del self._upstreams[model]
            # one that never got to start hands on whom it waited for
            predecessors[model] = upstream if upstream.has_process else upstream.predecessor
            self._retired.add(upstream)
            self._nursery.start_soon(self._retire, upstream, name=f"retire {model}")
        for model, description in config.models.items():
            if model not in self._upstreams:
                predecessor = predecessors.pop(model, None) or self._last_retired(model)
                self._upstreams[model] = self._new_upstream(description, predecessor)
                self._state_changed(model, self._upstreams[model].state)
        self._planner = planner_for(config)
        if any(upstream.has_process for upstream in self._retired):
            self._planner = Leaving(self._planner, config.models, before, known_before)
        # behind the state changes: nobody may be granted to a process that is about to stop
        self._post(_Adopt(config, done))

    def _last_retired(self, model: str) -> Upstream | None:
        """A model that was removed and came back waits for what it was before."""
        for upstream in self._retired:
            if upstream.model.id == model and upstream.has_process:
                return upstream
        return None

    async def _retire(self, upstream: Upstream) -> None:
        """Let requests in flight finish, for a while; then end the process for good."""
        model = upstream.model
        with trio.move_on_after(DRAIN_LIMIT):
            while self._held[upstream]:
                idle = self._idle[upstream] = trio.Event()
                await idle.wait()
        await upstream.shut_down(float(model.unload_timeout))
        self._retired.discard(upstream)
        self._idle.pop(upstream, None)
        del self._held[upstream]
        self._state_changed(model.id, upstream.state)

    def _lease_of(self, upstream: Upstream) -> Lease:
        assert upstream.endpoint is not None
        run = upstream.run
        assert run is not None
        if run.lease is None:
            model = upstream.model
            run.lease = Lease(model.id, upstream.endpoint, run.number, model.timeouts)
        return run.lease

    # --- leases -----------------------------------------------------------------------------------

    def enqueue(self, waiting: Waiting) -> TicketId:
        """Put a request into the collation queue. Raises ShuttingDown if nobody reads it."""
        ticket = TicketId(self._ids())
        self._tickets[ticket] = waiting
        if not self._enqueue(Arrived(ticket, waiting.model)):
            del self._tickets[ticket]
            raise ShuttingDown
        self._turn()
        return ticket

    def is_outdated(self, waiting: Waiting) -> bool:
        """Whether a reload came between the grant and its use."""
        return waiting.generation != self._generation

    def hold(self, ticket: TicketId, model: str) -> tuple[Upstream, Lease]:
        """Tie a granted ticket to the process that serves it. Raises UpstreamGone, ModelUnknown."""
        upstream = self._upstreams.get(model)
        if upstream is None:
            raise ModelUnknown(f"model {model} was removed from the configuration")
        if upstream.state is not ProcessState.READY:
            raise UpstreamGone(f"[{model}] process is not ready")
        self._held[upstream].add(ticket)
        return upstream, self._lease_of(upstream)

    def release(self, ticket: TicketId, upstream: Upstream | None) -> None:
        """End a ticket. Synchronous, so that nothing can come between it and its one release."""
        del self._tickets[ticket]
        if upstream is not None and (held := self._held.get(upstream)) is not None:
            held.discard(ticket)
            if not held and (idle := self._idle.get(upstream)) is not None:
                idle.set()
        if not self._queued and self._deciding:
            self._handle(Released(ticket), self._clock())  # nothing is before it
            self._heed_wakeup()
        elif self._enqueue(Released(ticket)):
            self._turn()
