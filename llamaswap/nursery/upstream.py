"""One upstream process: the only authority on its own state.

States and legal transitions are the table below; `docs/architecture.md` draws its picture from it.
Whoever wants the process started or stopped asks here, and the decision is taken here, never from a
snapshot read outside. Source: lifecycle §1.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import trio
from attrs import define, field

from llamaswap.config.schema import Model
from llamaswap.errors import (
    ShuttingDown,
    StartAborted,
    UpstreamError,
    UpstreamExited,
    UpstreamNotReady,
    UpstreamNotSpawned,
    UpstreamUnkillable,
)
from llamaswap.nursery import health
from llamaswap.nursery.child import Child, LogSink, spawn
from llamaswap.nursery.command import environment, start_argv
from llamaswap.nursery.endpoint import Endpoint
from llamaswap.nursery.guardian import Guardian
from llamaswap.nursery.lease import Lease
from llamaswap.nursery.masking import shown_command
from llamaswap.nursery.process_group import Mark
from llamaswap.nursery.taken_port import warn_if_taken
from llamaswap.planning.events import ProcessState, StopReason

logger = logging.getLogger(__name__)

S = ProcessState
TRANSITIONS: dict[ProcessState, frozenset[ProcessState]] = {
    S.STOPPED: frozenset({S.STARTING, S.SHUTDOWN}),
    S.STARTING: frozenset({S.READY, S.STOPPED, S.STOPPING}),
    S.READY: frozenset({S.STOPPING, S.STOPPED}),
    S.STOPPING: frozenset({S.STOPPED}),
    S.SHUTDOWN: frozenset(),
}

UNHEALTHY_GRACE = 5.0  # seconds between SIGTERM and SIGKILL after a failed health check


class ModelLog(LogSink, Protocol):
    """Where a model's output goes; told of starts and stops so that it can free its memory."""

    def started(self) -> None:
        """A new process begins: what a crashed predecessor left is cleared."""
        ...

    def stopped(self, *, requested: bool) -> None:
        """The process is gone; `requested`: somebody wanted that."""
        ...


@define(eq=False)
class Run:
    """One life of the process, from the wish to start it to its end."""

    number: int
    settled: trio.Event = field(factory=trio.Event)
    """Set once it is known whether the start succeeded; then `error` says."""
    over: trio.Event = field(factory=trio.Event)
    """Set once the process is gone, or known to be unkillable; then `stuck` says."""
    error: UpstreamError | None = None
    stuck: UpstreamUnkillable | None = None
    stop_by: float = math.inf
    """When SIGKILL is due: the earliest wish of all who asked for a stop."""
    stop_reason: StopReason | None = None
    interrupt: trio.CancelScope = field(factory=trio.CancelScope)
    """Around starting and serving; cancelled by a stop or by the leader's exit."""
    grace_scope: trio.CancelScope | None = None
    lease: Lease | None = None
    """What everybody who holds this run gets; made once."""

    def settle(self, error: UpstreamError | None = None) -> None:
        """Tell the starters, once."""
        if not self.settled.is_set():
            self.error = error
            self.settled.set()


@define(eq=False)
class Upstream:
    """Starts, watches and stops the process of one model."""

    model: Model
    start_timeout: float
    mark_owner: str
    nursery: trio.Nursery
    log: ModelLog
    guardian: Guardian
    on_state: Callable[[str, ProcessState], None]
    next_run: Callable[[], int]
    predecessor: Upstream | None = None
    """Served this model under an older configuration; must be gone before this one starts."""
    endpoint: Endpoint | None = None
    run: Run | None = None
    pid: int | None = None
    failure: str = ""
    """Why the last life failed to begin or ended by itself, for display; "" once one begins."""
    exit_code: int | None = None
    """With which the command ended by itself; goes with `failure`."""
    ended_by: str = ""
    """Why the last process ended: a StopReason, or `exit` if it did so by itself."""
    _state: ProcessState = ProcessState.STOPPED

    @property
    def state(self) -> ProcessState:
        """What clients and planners see; a predecessor that still lives shows as stopping."""
        if self._state is S.STOPPED and self._succeeds_somebody():
            return S.STOPPING
        return self._state

    def _succeeds_somebody(self) -> bool:
        return self.predecessor is not None and self.predecessor.state.resident

    async def ensure_ready(self) -> None:
        """Return once the process is ready: start it, join a start, or wait out a stop first.

        Cancelling leaves a start under way alone.

        Raises:
            UpstreamError: the start failed; everybody who waited for it gets the same error.
            ShuttingDown: this upstream is torn down.
        """
        while True:
            match self.state:
                case S.READY:
                    return
                case S.STARTING:
                    assert self.run is not None
                    await self._outcome(self.run)
                    return
                case S.STOPPING:
                    await self._gone()
                case S.STOPPED:
                    await self._outcome(self._start())
                    return
                case S.SHUTDOWN:
                    raise ShuttingDown(f"<{self.model.id}> is shutting down")

    async def stop(self, grace: float, reason: StopReason) -> None:
        """Stop the process and return when it is gone; the earliest deadline of all callers rules.

        A stopped one is left alone. Cancelling leaves the stop under way alone.

        Raises:
            UpstreamUnkillable: it outlived SIGKILL and keeps its state `stopping`.
        """
        if self.predecessor is not None:
            await self.predecessor.stop(grace, reason)
        self.request_stop(grace, reason)
        await self.wait_over()

    def request_stop(self, grace: float, reason: StopReason) -> None:
        """Begin a stop, or hasten one; nothing happens to a stopped process."""
        run = self.run
        if run is None or not self._state.resident:
            return
        run.stop_by = min(run.stop_by, trio.current_time() + grace)
        if run.stop_reason is None:
            run.stop_reason = reason
            self._enter(S.STOPPING)
            run.interrupt.cancel(reason=f"<{self.model.id}> is stopped: {reason.value}")
        elif run.grace_scope is not None:
            run.grace_scope.deadline = min(run.grace_scope.deadline, run.stop_by)

    async def shut_down(self, grace: float) -> None:
        """Stop for good. Afterwards `ensure_ready` raises and `stop` does nothing."""
        self.request_stop(grace, StopReason.SHUTDOWN)
        with suppress(UpstreamUnkillable):  # stays `stopping`: its memory is still taken
            await self.wait_over()
        if self._state is S.STOPPED:
            self._enter(S.SHUTDOWN)

    @property
    def has_process(self) -> bool:
        """Whether a process of this very object may be alive, whatever its predecessor does."""
        return self._state.resident

    def adjust(self, model: Model, start_timeout: float) -> None:
        """Take a new description that needs no other process; a process that runs goes on."""
        self.model = model
        self.start_timeout = start_timeout
        if self.run is not None:
            self.run.lease = None  # made of the old limits; the next who asks gets a new one

    def shares_address(self, other: Upstream) -> bool:
        """Whether both would listen on the same port of the same host."""
        try:
            ours, theirs = (Endpoint.parse(one.model.proxy) for one in (self, other))
        except ValueError:
            return False  # such a model fails to start, with its own message
        return (ours.host, ours.port) == (theirs.host, theirs.port)

    # --- one life ---------------------------------------------------------------------------------

    def _start(self) -> Run:
        run = self.run = Run(self.next_run())
        self.failure, self.exit_code = "", None
        self._enter(S.STARTING)
        self.nursery.start_soon(self._live, run, name=f"upstream {self.model.id}")
        return run

    async def _outcome(self, run: Run) -> None:
        await run.settled.wait()
        if run.error is not None:
            raise run.error

    async def _gone(self) -> None:
        """Wait for a stop under way, ours or the predecessor's."""
        if self._succeeds_somebody():
            assert self.predecessor is not None
            await self.predecessor.wait_over()
        else:
            await self.wait_over()

    async def wait_over(self) -> None:
        """Wait until the present process is gone. Raises UpstreamUnkillable if it never is."""
        run = self.run
        if run is None or not self._state.resident:
            return
        await run.over.wait()
        if run.stuck is not None:
            raise run.stuck

    async def _live(self, run: Run) -> None:
        """From spawn to the end; whatever happens the process is gone afterwards."""
        model = self.model
        if run.stop_reason is not None:  # stopped before this task had its first turn
            self._finish(run, StartAborted(f"<{model.id}> aborted before its process was spawned"))
            return
        self.log.started()
        try:
            self.endpoint = self._parse_endpoint()
            await warn_if_taken(model.id, self.endpoint)
            mark = Mark(self.mark_owner, run.number, keep=bool(model.cmd_stop.strip()))
            child = await spawn(
                model, start_argv(model), environment(model, mark), mark, self.log, self.nursery
            )
        except UpstreamError as exc:
            self._finish(run, exc)
            return
        self.guardian.watch(child.pid)
        self.pid = child.pid
        names = ", ".join(entry.partition("=")[0] for entry in model.env) or "nothing"
        logger.debug(
            "<%s> process %d: %s (env: %s)", model.id, child.pid, shown_command(child.argv), names
        )
        failure: UpstreamError | None = None
        try:
            failure = await self._serve(run, child)
        except Exception as exc:  # a defect must cost this process, not all of them
            logger.exception("<%s> is stopped because of a defect in llamaswap", model.id)
            failure = UpstreamError(f"<{model.id}> stopped: a defect in llamaswap ({exc!r})")
        finally:
            # reached by a stop, an exit, a failed start and by cancellation alike
            with trio.CancelScope(shield=True):  # bounded: each wait of end() has its own limit
                await self._end(run, child, failure)

    async def _serve(self, run: Run, child: Child) -> UpstreamError | None:
        """Bring the process to ready and keep it until it exits or is stopped."""
        failure: UpstreamError | None = None
        async with trio.open_nursery() as life:
            life.start_soon(self._interrupt_on_exit, run, child)
            with run.interrupt:
                try:
                    await self._become_ready()
                except UpstreamNotReady as exc:
                    failure = exc
                else:
                    # a stop or the exit may have come with the last answer: then we were not
                    # cancelled in that wait any more, but will be in the next
                    if not run.interrupt.cancel_called:
                        self._enter(S.READY)
                        run.settle()
                    await trio.sleep_forever()
            life.cancel_scope.cancel(reason=f"<{self.model.id}> is over")
        return failure

    async def _become_ready(self) -> None:
        assert self.endpoint is not None
        url = health.probe_url(self.endpoint, self.model.check_endpoint)
        if url is not None:
            await health.wait_ready(self.model.id, url, limit=self.start_timeout)

    async def _interrupt_on_exit(self, run: Run, child: Child) -> None:
        await child.wait_exited()
        run.interrupt.cancel(reason=f"<{self.model.id}> exited by itself")

    async def _end(self, run: Run, child: Child, failure: UpstreamError | None) -> None:
        """Bring the process and everything it left behind to an end, then tell everybody."""
        model = self.model
        keep = False
        if child.exit_code() is None:
            if failure is not None:
                self.request_stop(UNHEALTHY_GRACE, StopReason.ABORT)
            elif run.stop_reason is None:  # cancelled from outside: there is no time left
                self.request_stop(0.0, StopReason.SHUTDOWN)
            self._say_stopping(run, child)
            with trio.CancelScope(deadline=run.stop_by) as run.grace_scope:
                keep = await child.stop_politely()
        elif run.stop_reason is None and await child.has_company():
            self._enter(S.STOPPING)  # what it left behind still takes memory
        stuck = await child.end(keep_rest=keep)
        logger.debug(
            "<%s> process %d: %s", model.id, child.pid, child.describe_exit(), extra=self._own_log()
        )
        if stuck:
            await self._stay_stuck(run, child, stuck)
        self.guardian.forget(child.pid)
        if keep:
            self.guardian.keep(child.mark)
        if failure is None and run.stop_reason is None:
            failure = self._explain_exit(run, child)
        self._finish(run, failure or StartAborted(f"<{model.id}> aborted: stopped while starting"))

    def _say_stopping(self, run: Run, child: Child) -> None:
        logger.debug(
            "<%s> stopping process %d (%s), with %s: %.1f s until SIGKILL",
            self.model.id,
            child.pid,
            run.stop_reason.value if run.stop_reason is not None else "exit",
            "cmdStop" if self.model.cmd_stop.strip() else "SIGTERM",
            max(0.0, run.stop_by - trio.current_time()),
            extra=self._own_log(),
        )

    def _own_log(self) -> dict[str, str]:
        """Where records about stopping go: to what the model itself prints."""
        return {"model_log": self.model.id}

    async def _stay_stuck(self, run: Run, child: Child, stuck: list[int]) -> None:
        """Rule U: alive after SIGKILL, so its memory is taken and the state stays `stopping`."""
        error = UpstreamUnkillable(
            f"<{self.model.id}> processes {', '.join(map(str, stuck))} are still alive after "
            "SIGKILL (stuck in a driver?); the model counts as loaded until they are gone"
        )
        logger.error("%s", error, extra=self._own_log())
        run.stuck = error
        run.settle(error)
        run.over.set()
        await child.wait_all_gone()
        logger.info("<%s> the processes that survived SIGKILL are gone", self.model.id)

    def _explain_exit(self, run: Run, child: Child) -> UpstreamError:
        how = child.describe_exit()
        self.exit_code = child.exit_code()
        if run.settled.is_set():
            logger.warning(
                "<%s> upstream exited unexpectedly (%s); the next request starts it again. "
                "If cmd runs its server in the background, make it stay in the foreground",
                self.model.id,
                how,
            )
        tail = child.last_lines()
        shown = f"; last output:\n{tail}" if tail else ""
        return UpstreamExited(
            f"<{self.model.id}> upstream command exited prematurely ({how}){shown}"
        )

    def _finish(self, run: Run, error: UpstreamError) -> None:
        if not run.settled.is_set() and not isinstance(error, StartAborted):
            logger.warning("<%s> start failed: %s", self.model.id, error)
        requested = run.stop_reason not in (None, StopReason.ABORT)
        if not requested and not isinstance(error, StartAborted):
            self.failure = str(error)
        self.log.stopped(requested=requested)
        self.pid = None
        self.ended_by = run.stop_reason.value if run.stop_reason is not None else "exit"
        self._enter(S.STOPPED)
        run.settle(error)
        run.over.set()

    def _parse_endpoint(self) -> Endpoint:
        if not self.model.proxy:
            raise UpstreamNotSpawned(f"upstream proxy missing (models.{self.model.id}.proxy)")
        try:
            return Endpoint.parse(self.model.proxy)
        except ValueError as exc:
            raise UpstreamNotSpawned(f"models.{self.model.id}.proxy: {exc}") from exc

    def _enter(self, state: ProcessState) -> None:
        if state is self._state:
            return
        assert state in TRANSITIONS[self._state], f"{self._state} -> {state}"
        self._state = state
        self.on_state(self.model.id, self.state)
