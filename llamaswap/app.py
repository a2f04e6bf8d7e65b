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
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from attrs import define, field

from llamaswap.api.app import create_app
from llamaswap.api.server import serve_control_plane
from llamaswap.config.schema import Config
from llamaswap.errors import LlamaswapError
from llamaswap.nursery.guardian import Guardian
from llamaswap.nursery.orphans import sweep_orphans
from llamaswap.nursery.process_group import owner_id
from llamaswap.nursery.supervisor import Supervisor
from llamaswap.planning.events import Decision, ProcessState
from llamaswap.proxy.server import open_listeners, serve, stop_accepting
from llamaswap.proxy.site import Site
from llamaswap.telemetry.access_log import AccessLog
from llamaswap.telemetry.bus import DecisionMade, EventBus, ModelStateChanged
from llamaswap.telemetry.decisions import Decisions
from llamaswap.telemetry.logging_setup import LogSettings, logging_to
from llamaswap.telemetry.loghub import LogHub
from llamaswap.telemetry.stdout import copy_to_stdout

logger = logging.getLogger(__name__)

SHUTDOWN_LIMIT = 30.0
STOP_RESERVE = 10.0
"""Seconds of the shutdown kept for stopping processes, if an unloadTimeout is as long."""
BACKSTOP = 35.0
STDOUT_GOODBYE = 0.5


@define(kw_only=True)
class Program:
    """One life of the program, from bound listeners to the exit code."""

    config: Config
    listen: str
    tls: ssl.SSLContext | None = None
    load: Callable[[], Config] | None = None
    """Loads the sources again for a reload; None: there is nothing to reload (demo)."""
    on_listening: Callable[[str], None] = lambda url: None
    _hub: LogHub = field(factory=LogHub, init=False)
    _bus: EventBus = field(factory=EventBus, init=False)
    _decisions: Decisions = field(factory=Decisions, init=False)
    _listeners: list[socket.socket] = field(factory=list, init=False)
    _supervisor: Supervisor = field(init=False)
    _site: Site = field(init=False)
    _log_settings: LogSettings = field(init=False)
    _access_log: AccessLog = field(init=False)
    _exit_code: int = field(default=0, init=False)

    async def run(self) -> int:
        """Serve until told to stop; return the exit code.

        Raises:
            ListenFailed: the address cannot be served on; nothing was started.
        """
        self._listeners = open_listeners(self.listen)  # before any model process
        self._hub.mode = self.config.log_to_stdout
        with logging_to(self._hub) as settings:
            settings.apply(self.config.log_level, self.config.log_time_format)
            self._log_settings = settings
            self._access_log = AccessLog(self._hub, settings)
            guardian = Guardian(owner_id())
            async with _stdout(self._hub), trio.open_nursery() as outer:
                outer.start_soon(guardian.run, name="guardian")
                with tempfile.TemporaryDirectory(prefix="llamaswap-") as folder:
                    await self._serve(guardian, str(Path(folder, "control.sock")))
                outer.cancel_scope.cancel(reason="everything has stopped")
        return self._exit_code

    async def _serve(self, guardian: Guardian, control_socket: str) -> None:
        await sweep_orphans()
        self._supervisor = Supervisor(
            self.config, self._hub, guardian, self._state_changed, self._decided
        )
        self._site = Site(self.config, self._supervisor, control_socket, self._access_log.add)
        signals_wanted = [signal.SIGINT, signal.SIGTERM]
        if hasattr(signal, "SIGHUP"):
            signals_wanted.append(signal.SIGHUP)
        with trio.open_signal_receiver(*signals_wanted) as signals:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._supervisor.run)
                app = create_app(
                    models=self._supervisor,
                    config=lambda: self._site.config,
                    hub=self._hub,
                    decisions=self._decisions,
                )
                await nursery.start(serve_control_plane, app, control_socket)
                await nursery.start(serve, self._site, self._listeners, self.tls)
                self._announce()
                nursery.start_soon(self._access_log.run, name="access log")
                nursery.start_soon(self._preload, name="preload")
                async for number in signals:
                    if number == getattr(signal, "SIGHUP", None):
                        await self._reload()
                        continue
                    logger.info("received %s, shutting down", signal.Signals(number).name)
                    break
                nursery.start_soon(self._second_signal, signals)
                nursery.start_soon(self._backstop)
                await self._shut_down()
                nursery.cancel_scope.cancel(reason="shut down")
        logger.info("shutdown complete")

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
                logger.warning("and no apiKeys are set: whoever reaches it may use it")
        shown = "localhost" if not _is_loopback(host) else host
        self.on_listening(f"{scheme}://{_authority(shown, port)}")

    async def _preload(self) -> None:
        """Bring the models of `hooks.on_startup.preload` up, one after the other."""
        for model in self.config.preload:
            logger.info("<%s> preloading", model)
            try:
                async with self._supervisor.lease(model):
                    logger.info("<%s> preloaded", model)
            except LlamaswapError as exc:
                logger.error("<%s> preload failed: %s", model, exc)  # noqa: TRY400  # expected

    # --- while it runs ----------------------------------------------------------------------------

    async def _reload(self) -> None:
        """Take the configuration as it is on disk now; a bad one changes nothing."""
        if self.load is None:
            logger.info("received SIGHUP: the demo has no configuration to reload")
            return
        logger.info("reloading configuration")
        try:
            config = await trio.to_thread.run_sync(self.load)
        except LlamaswapError as exc:
            logger.warning("reload failed, the running configuration stays: %s", exc)
            return
        self.config = config
        self._site.config = config
        self._hub.mode = config.log_to_stdout
        self._log_settings.apply(config.log_level, config.log_time_format)
        await self._supervisor.reconfigure(config)
        logger.info("configuration reloaded")

    def _state_changed(self, model: str, old: ProcessState, new: ProcessState) -> None:
        logger.debug("<%s> %s -> %s", model, old.value, new.value)
        self._bus.publish(ModelStateChanged(model, new.value))

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
        self._decisions.add(made)
        self._bus.publish(made)

    # --- the end ----------------------------------------------------------------------------------

    async def _shut_down(self) -> None:
        """Drain, then stop every process, within `SHUTDOWN_LIMIT`. Source: lifecycle §1.10."""
        began = trio.current_time()
        stop_accepting(self._listeners)
        self._access_log.flush()
        self._hub.end()  # log streams would keep the drain waiting
        self._bus.end()
        self._site.drain()
        self._supervisor.begin_shutdown()
        longest = max((m.unload_timeout for m in self.config.models.values()), default=0)
        reserve = min(STOP_RESERVE, float(longest))
        with trio.move_on_at(began + SHUTDOWN_LIMIT - reserve):
            await self._site.wait_idle()
        left = began + SHUTDOWN_LIMIT - trio.current_time()
        await self._supervisor.shut_down(max(left, 0.001))
        self._site.cut()

    async def _second_signal(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            if number != getattr(signal, "SIGHUP", None):
                self._leave_now("second signal: killing every model process")

    async def _backstop(self) -> None:
        await trio.sleep(BACKSTOP)
        self._leave_now(f"shutdown took longer than {BACKSTOP:g} s: killing every model process")

    def _leave_now(self, reason: str) -> None:
        """Kill every process group and exit with status 1, without waiting for anything."""
        print(f"llamaswap: {reason}", file=sys.stderr, flush=True)  # noqa: T201  # the hub has ended
        self._supervisor.kill_everything()
        os._exit(1)  # the guardian sees the pipe close and sweeps what may be left


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
