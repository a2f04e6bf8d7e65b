"""The composition root: opens the nurseries, wires the planes, answers signals, ends in order.

What dies last is outermost: guardian, logs, supervision with its processes, control plane,
listeners.
Source: lifecycle §1.10, config §1.1–1.3.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import signal
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from attrs import define, field

from llamaswap.config.diff import compare
from llamaswap.config.live import LiveConfig
from llamaswap.config.load import Loaded
from llamaswap.config.schema import Config
from llamaswap.config.watch import INTERVAL, Signature, Watched, watch
from llamaswap.memory import spare_what_stays
from llamaswap.nursery.expectations import expectations
from llamaswap.nursery.guardian import Guardian
from llamaswap.nursery.orphans import sweep_orphans
from llamaswap.nursery.process_group import owner_id
from llamaswap.nursery.profile import ActiveProfile
from llamaswap.nursery.supervisor import Supervisor
from llamaswap.planning.costs import Costs
from llamaswap.planning.events import Decision, DecisionKind, ProcessState
from llamaswap.preload import Preloader
from llamaswap.proxy.server import open_listeners, serve, stop_accepting
from llamaswap.proxy.site import Site
from llamaswap.reload import Load, Reloader
from llamaswap.service_manager import ServiceManager
from llamaswap.telemetry.access_log import AccessLog
from llamaswap.telemetry.book import Book, Entry
from llamaswap.telemetry.bus import DecisionMade, EventBus, ModelStateChanged
from llamaswap.telemetry.cost_file import cost_path, keep_costs, read_costs
from llamaswap.telemetry.counters import Counters, CountingObserver, offered_by_peer
from llamaswap.telemetry.decisions import Decisions
from llamaswap.telemetry.hardware.once import HardwareReport
from llamaswap.telemetry.lifecycle import Lifecycle, Transition
from llamaswap.telemetry.logging_setup import LogSettings, logging_to
from llamaswap.telemetry.loghub import LogHub
from llamaswap.telemetry.sampler import Monitor
from llamaswap.telemetry.stdout import copy_to_stdout

if TYPE_CHECKING:
    from llamaswap.api.app import ControlPlane

logger = logging.getLogger(__name__)

SHUTDOWN_LIMIT = 30.0
STOP_RESERVE = 10.0
"""Seconds of the shutdown kept for stopping processes, if an unloadTimeout is as long."""
BACKSTOP = 35.0
CONTROL_BACKLOG = 1024
STDOUT_GOODBYE = 0.5
BOOK_GOODBYE = 5.0
"""Seconds for the last rows of activity; a locked database costs no more."""
SIGHUP: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none


@define(kw_only=True)
class Program:
    """One life of the program, from bound listeners to the exit code."""

    loaded: Loaded
    listen: str
    tls: ssl.SSLContext | None = None
    load: Load | None = None
    """Loads the sources again for a reload; None: there is nothing to reload (demo)."""
    watched: Mapping[Watched, Signature] = field(factory=dict)
    """Files whose changes ask for a reload, and what they looked like before they were loaded."""
    on_listening: Callable[[str], None] = lambda url: None
    _hub: LogHub = field(factory=LogHub, init=False)
    _bus: EventBus = field(factory=EventBus, init=False)
    _decisions: Decisions = field(factory=Decisions, init=False)
    _lifecycle: Lifecycle = field(factory=Lifecycle, init=False)
    _listeners: list[socket.socket] = field(factory=list, init=False)
    _live: LiveConfig = field(init=False)
    _reloader: Reloader | None = field(default=None, init=False)
    _preloader: Preloader = field(init=False)
    _preloading: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    """Around the preloading under way; the next reload begins another."""
    _supervisor: Supervisor = field(init=False)
    _site: Site = field(init=False)
    _monitor: Monitor = field(init=False)
    _book: Book = field(init=False)
    _counters: Counters = field(init=False)
    _hardware: HardwareReport = field(factory=HardwareReport, init=False)
    _log_settings: LogSettings = field(init=False)
    _access_log: AccessLog = field(init=False)
    _service: ServiceManager = field(init=False)
    _exit_code: int = field(default=0, init=False)

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._live.config

    async def run(self) -> int:
        """Serve until told to stop; return the exit code.

        Raises:
            ListenFailed: the address cannot be served on; nothing was started.
            StoreFailed: the database of `store.path` cannot be used; likewise.
        """
        self._live = LiveConfig(self.loaded, loaded_at=time.time(), watching=bool(self.watched))
        self._listeners = open_listeners(self.listen)  # before any model process
        self._service = ServiceManager.from_environment(os.environ)
        self._hub.mode = self.config.log_to_stdout
        with logging_to(self._hub) as settings:
            settings.apply(self.config.log_level, self.config.log_time_format)
            self._log_settings = settings
            logger.debug("process %d", os.getpid())
            for warning in self.loaded.warnings:
                logger.warning("configuration: %s", warning)
            self._access_log = AccessLog(self._hub, settings)
            self._book = Book.open(self.config, self._bus)
            guardian = Guardian(owner_id())
            async with _stdout(self._hub), trio.open_nursery() as outer:
                outer.start_soon(guardian.run, name="guardian")
                with tempfile.TemporaryDirectory(prefix="llamaswap-") as folder:
                    path = str(Path(folder, "control.sock"))
                    with _listening_at(path) as control:
                        await self._serve(guardian, path, control)
                outer.cancel_scope.cancel(reason="everything has stopped")
        return self._exit_code

    async def _serve(self, guardian: Guardian, control_socket: str, control: socket.socket) -> None:
        await sweep_orphans()
        costs = Costs(await expectations(self.config))
        if (path := self._cost_path()) is not None:
            costs.restore(await read_costs(path))
        self._supervisor = Supervisor(
            self.config, self._hub, guardian, self._state_changed, self._decided, costs
        )
        self._preloader = Preloader(self._supervisor, self._bus)
        profile = ActiveProfile(self.config.profiles, self._bus)
        self._site = Site(
            self.config, self._supervisor, control_socket, profile, self._access_log.add
        )
        self._counters = Counters(lambda name: offered_by_peer(self._site.config, name))
        self._site.observer = CountingObserver(self._counters, self._book)
        self._book.listeners.append(self._count_tokens)
        self._monitor = Monitor(self.config.performance, self._bus, self._supervisor.leaders)
        signals_wanted = [signal.SIGINT, signal.SIGTERM]
        if SIGHUP is not None:
            signals_wanted.append(SIGHUP)
        with trio.open_signal_receiver(*signals_wanted) as signals:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._supervisor.run)

                def control_plane() -> ControlPlane:
                    from llamaswap.api.app import create_app

                    return create_app(
                        models=self._supervisor,
                        config=lambda: self._site.config,
                        hub=self._hub,
                        live=self._live,
                        decisions=self._decisions,
                        profile=profile,
                        monitor=self._monitor,
                        hardware=self._hardware,
                        lifecycle=self._lifecycle,
                        bus=self._bus,
                        inflight=self._book.inflight,
                        book=self._book,
                        counters=self._counters,
                    )

                nursery.start_soon(_serve_control_plane, control_plane, control)
                await nursery.start(serve, self._site, self._listeners, self.tls)
                self._announce()
                nursery.start_soon(spare_what_stays, name="garbage collector")
                nursery.start_soon(self._service.keep_alive, name="watchdog of the service manager")
                nursery.start_soon(self._access_log.run, name="access log")
                nursery.start_soon(self._hardware.run, name="hardware report")
                nursery.start_soon(self._monitor.run, name="performance monitor")
                nursery.start_soon(self._book.run, name="activity")
                nursery.start_soon(keep_costs, self._cost_path, costs.snapshot, name="costs")
                await self._until_stopped(signals)
                nursery.start_soon(self._second_signal, signals)
                nursery.start_soon(self._backstop)
                await self._shut_down()
                nursery.cancel_scope.cancel(reason="shut down")
        logger.info("shutdown complete")

    def _cost_path(self) -> Path | None:
        """Where learned costs are kept: beside the activity store, if it is a file."""
        store = self.config.store_path
        return cost_path(store) if store else None

    # --- start ------------------------------------------------------------------------------------

    def _announce(self) -> None:
        scheme = "https" if self.tls else "http"
        addresses = [sock.getsockname() for sock in self._listeners]
        host, port = addresses[0][:2]
        logger.info("listening on %s://%s", scheme, _authority(host, port))
        if not _is_loopback(host):
            logger.info(
                "every host on the network can reach this address; "
                "-listen localhost:%d restricts it to this machine",
                port,
            )
            if not self.config.api_keys:
                logger.warning(
                    "NO API KEY: whoever reaches %s://%s may use every model, read the logs and "
                    "stop what runs; set apiKeys, or -listen localhost:%d",
                    scheme,
                    _authority(host, port),
                    port,
                )
        self._service.ready(self._summary())
        shown = "localhost" if not _is_loopback(host) else host
        self.on_listening(f"{scheme}://{_authority(shown, port)}")

    def _summary(self) -> str:
        """One line for the service manager: how many models are ready."""
        states = self._supervisor.states().values()
        return f"{sum(s is ProcessState.READY for s in states)} of {len(states)} models ready"

    # --- while it runs ----------------------------------------------------------------------------

    async def _until_stopped(self, signals: AsyncIterator[int]) -> None:
        """Preload, watch and reload until a signal says stop; all of that ends with it."""
        async with trio.open_nursery() as daily:
            if self.load is not None:
                apply = partial(self._apply, daily)
                self._reloader = Reloader(self._live, self.load, apply, self._bus)
                daily.start_soon(self._reloader.run, name="reloads")
            if self.watched:
                logger.info("watching the configuration for changes, every %g s", INTERVAL)
                changed = partial(self._ask_to_reload, "the files changed")
                daily.start_soon(partial(watch, known=self.watched), changed, name="watch")
            preload = partial(self._preloader.after_start, self.config.preload)
            daily.start_soon(self._preload, preload, name="preload")
            async for number in signals:
                if number != SIGHUP:
                    logger.info("received %s, shutting down", signal.Signals(number).name)
                    break
                self._ask_to_reload("SIGHUP")
            daily.cancel_scope.cancel(reason="the program stops")

    def _ask_to_reload(self, trigger: str) -> None:
        if self._reloader is None:
            logger.info("%s: the demo has no configuration to reload", trigger)
        else:
            self._reloader.request(trigger)

    async def _apply(self, nursery: trio.Nursery, loaded: Loaded) -> None:
        """Put a checked configuration in force everywhere.

        Steps that may fail come first and raise LlamaswapError with everything as it was.
        """
        before, config = self.config, loaded.config
        store = await self._book.reopen(config)
        await self._supervisor.reconfigure(config)
        self._site.reconfigure(config)
        self._hub.mode = config.log_to_stdout
        self._hub.keep_models(config.models)
        self._log_settings.apply(config.log_level, config.log_time_format)
        self._monitor.apply(config.performance)
        await self._book.reconfigure(config, store)
        again = partial(
            self._preloader.after_reload, config.preload, before.preload, compare(before, config)
        )
        self._preloading.cancel(reason="a newer configuration has its own list")
        nursery.start_soon(self._preload, again, name="preload")

    async def _preload(self, work: Callable[[], Awaitable[None]]) -> None:
        with trio.CancelScope() as self._preloading:
            await work()

    def _state_changed(self, model: str, old: ProcessState, new: ProcessState) -> None:
        logger.debug("<%s> %s -> %s", model, old.value, new.value)
        self._lifecycle.note(self._transition(model, new), old.value)
        self._counters.state_changed(model, new.value, self._supervisor.why_stopped(model))
        self._bus.publish(ModelStateChanged(model, new.value))
        if ProcessState.READY in (old, new):
            self._service.status(self._summary())

    def _transition(self, model: str, new: ProcessState) -> Transition:
        if new not in (ProcessState.STOPPING, ProcessState.STOPPED):
            return Transition(time.time(), model, new.value)
        facts = self._supervisor.facts(model)
        reason = facts.failure or facts.stop_reason
        failed = facts.failure != ""
        return Transition(time.time(), model, new.value, reason, failed, facts.exit_code)

    def _decided(self, decision: Decision) -> None:
        made = DecisionMade(
            time=time.time(),
            kind=decision.kind.value,
            model=decision.model,
            evicted=decision.evicted,
            reason=decision.reason,
            waiters=decision.waiters,
            oldest_wait=decision.oldest_wait,
            estimate=decision.estimate,
        )
        if decision.kind is DecisionKind.SWAP:
            self._counters.swapped(decision.model, evicting=bool(decision.evicted))
        self._decisions.add(made)
        self._bus.publish(made)

    def _count_tokens(self, entry: Entry) -> None:
        row = entry.row
        tokens = row.tokens
        self._counters.used(
            row.model, fresh=tokens.fresh, cached=max(tokens.cached, 0), output=tokens.output
        )

    # --- the end ----------------------------------------------------------------------------------

    async def _shut_down(self) -> None:
        """Drain, then stop every process, within `SHUTDOWN_LIMIT`. Source: lifecycle §1.10."""
        began = trio.current_time()
        self._service.stopping()
        stop_accepting(self._listeners)
        self._access_log.flush()
        self._hub.end()  # log streams would keep the drain waiting
        self._bus.end()
        self._site.drain()
        self._supervisor.begin_shutdown()
        longest = max((m.unload_timeout for m in self.config.models.values()), default=0)
        reserve = min(STOP_RESERVE, float(longest))
        with trio.move_on_at(began + SHUTDOWN_LIMIT - reserve) as drain:
            await self._site.wait_idle()
        if drain.cancelled_caught:
            logger.warning(
                "%d requests are still under way after %.0f s and are cut",
                len(self._site.ongoing),
                trio.current_time() - began,
            )
        left = began + SHUTDOWN_LIMIT - trio.current_time()
        await self._supervisor.shut_down(max(left, 0.001))
        self._site.cut()
        with trio.move_on_after(BOOK_GOODBYE):
            await self._site.wait_idle()
            await self._book.flush()
            await self._book.close()

    async def _second_signal(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            if number != SIGHUP:
                self._leave_now("second signal: killing every model process")

    async def _backstop(self) -> None:
        await trio.sleep(BACKSTOP)
        self._leave_now(f"shutdown took longer than {BACKSTOP:g} s: killing every model process")

    def _leave_now(self, reason: str) -> None:
        """Kill every process group and exit with status 1, without waiting for anything."""
        print(f"llamaswap: {reason}", file=sys.stderr, flush=True)  # noqa: T201  # the hub has ended
        self._supervisor.kill_everything()
        os._exit(1)  # the guardian sees the pipe close and sweeps what may be left


@contextmanager
def _listening_at(path: str) -> Iterator[socket.socket]:
    """A Unix socket that takes connections from now on, whoever serves them later.

    Its folder is the only lock: it must belong to us and be closed to others (0700).
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(CONTROL_BACKLOG)
        yield listener


async def _serve_control_plane(build: Callable[[], ControlPlane], listener: socket.socket) -> None:
    """Serve the API.

    Its framework takes as long to import as everything else together, so the data plane does not
    wait for it: what is meant for the API waits in the socket's backlog.
    """

    def prepare() -> tuple[ControlPlane, Callable[..., Awaitable[None]]]:
        from llamaswap.api.server import serve_control_plane

        return build(), serve_control_plane

    app, serve_it = await trio.to_thread.run_sync(prepare)
    await serve_it(app, listener)


@asynccontextmanager
async def _stdout(hub: LogHub) -> AsyncIterator[None]:
    """Copy the combined log to stdout; at the end give it a moment to say everything."""
    async with trio.open_nursery() as nursery:
        await nursery.start(copy_to_stdout, hub, sys.stdout.fileno())
        try:
            yield
        finally:
            hub.end(last=True)
            nursery.cancel_scope.deadline = trio.current_time() + STDOUT_GOODBYE


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback
