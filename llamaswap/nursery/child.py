"""A spawned process with its group and its one output pipe. Source: lifecycle §1.3, §1.8."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Protocol

import trio
from attrs import define, field

from llamaswap.config.schema import Model
from llamaswap.errors import UpstreamNotSpawned
from llamaswap.nursery.command import stop_argv
from llamaswap.nursery.masking import shown_command
from llamaswap.nursery.open_files import ORIGINAL, give_back_open_files
from llamaswap.nursery.process_group import (
    Mark,
    exit_text,
    kill_members,
    members,
    signal_group,
    wait_exited,
)

logger = logging.getLogger(__name__)

READ_SIZE = 65536
TAIL_SIZE = 4096  # bytes of output kept to explain a failed start
TAIL_LINES = 20
KILL_LIMIT = 5.0  # seconds after SIGKILL until a process counts as unkillable
DRAIN_LIMIT = 1.0  # seconds that a descendant holding the pipe may delay the end
STUCK_POLL = 1.0


class LogSink(Protocol):
    """Takes a child's output as it comes. Never waits."""

    def write(self, data: bytes) -> None:
        """Take the bytes of one read."""
        ...


async def spawn(
    model: Model,
    argv: Sequence[str],
    env: Mapping[str, str],
    mark: Mark,
    log: LogSink,
    nursery: trio.Nursery,
) -> Child:
    """Spawn `argv` as leader of a new process group; its output flows into `log` from then on.

    The reader of the pipe lives in `nursery`, because descendants may outlive the leader.

    Raises:
        UpstreamNotSpawned: the kernel refused.
    """
    with trio.CancelScope(shield=True):  # a child spawned while cancelled would be nobody's
        try:
            process = await trio.lowlevel.open_process(
                argv,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C at the terminal is not for it
            )
        except (OSError, ValueError) as exc:  # ValueError: a NUL in argv
            raise UpstreamNotSpawned(
                f"failed to start command '{shown_command(argv)}': {exc}"
            ) from exc
    give_back_open_files(process.pid, ORIGINAL)
    child = Child(model, process, tuple(argv), env, mark, log)
    nursery.start_soon(child.drain, name=f"output of {model.id}")
    return child


@define(eq=False)
class Child:
    """The leader, its group, and what it says."""

    model: Model
    process: trio.Process
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    mark: Mark
    log: LogSink = field(repr=False)
    tail: bytes = b""
    reaped: int | None = None
    """The return code, once the leader was reaped; trio's own property would reap it early."""
    drained: trio.Event = field(factory=trio.Event)
    drain_scope: trio.CancelScope = field(factory=trio.CancelScope)

    @property
    def pid(self) -> int:
        """The leader's pid, which is also the id of its process group."""
        return self.process.pid

    async def drain(self) -> None:
        """Read the pipe to its end, whoever holds it, so that nobody ever blocks on it."""
        assert self.process.stdout is not None
        try:
            with self.drain_scope:
                async for data in self.process.stdout:
                    self.log.write(bytes(data))
                    self.tail = (self.tail + data[-TAIL_SIZE:])[-TAIL_SIZE:]
        finally:
            self.drained.set()
            with trio.CancelScope(shield=True):  # closing a pipe end does not wait
                await self.process.stdout.aclose()

    async def wait_exited(self) -> None:
        """Wait until the leader has exited; it stays unreaped, so its group id stays its own."""
        await wait_exited(self.pid)

    def exit_code(self) -> int | None:
        """The leader's return code as subprocess spells it, without reaping; None: it runs."""
        if self.reaped is not None:
            return self.reaped
        info = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        if info is None:
            return None
        return info.si_status if info.si_code == os.CLD_EXITED else -info.si_status

    async def has_company(self) -> bool:
        """Whether descendants live beside the leader."""
        return bool(await trio.to_thread.run_sync(members, self.pid, self.mark))

    async def stop_politely(self) -> bool:
        """Ask the process to end, by `cmdStop` or SIGTERM, and wait until the leader has exited.

        True: `cmdStop` succeeded, so what still runs was left on purpose. The caller's scope
        bounds the wait; a stop command that still runs at its end is killed.
        """
        try:
            argv = stop_argv(self.model, self.pid)
        except UpstreamNotSpawned as exc:
            logger.error(  # noqa: TRY400  # ours, expected
                "<%s> cmdStop: %s; sending SIGTERM instead",
                self.model.id,
                exc,
                extra={"model_log": self.model.id},
            )
            argv = []
        if not argv:
            self._terminate()
            await self.wait_exited()
            return False
        succeeded = False
        async with trio.open_nursery() as nursery:

            async def run_stop_command() -> None:
                nonlocal succeeded
                succeeded = await self._run_stop_command(argv)

            nursery.start_soon(run_stop_command)
            await self.wait_exited()
            # it often is the stop command's own next step to return
            with trio.move_on_after(DRAIN_LIMIT):
                while nursery.child_tasks:
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel(reason=f"<{self.model.id}> has stopped")
        return succeeded

    def _terminate(self) -> None:
        if not signal_group(self.pid, signal.SIGTERM) and self.exit_code() is None:
            logger.warning(
                "<%s> SIGTERM to process group %d is not permitted; does cmd run its server as "
                "another user? A cmdStop that may stop it would help",
                self.model.id,
                self.pid,
                extra={"model_log": self.model.id},
            )

    async def _run_stop_command(self, argv: Sequence[str]) -> bool:
        """Run `cmdStop` in its own group, its output in the model's log; whether it succeeded."""
        own_log = {"model_log": self.model.id}
        logger.debug("<%s> cmdStop: %s", self.model.id, shown_command(argv), extra=own_log)
        try:
            process = await trio.lowlevel.open_process(
                argv,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except (OSError, ValueError) as exc:
            logger.error(  # noqa: TRY400  # expected
                "<%s> cmdStop: %s; sending SIGTERM instead",
                self.model.id,
                exc,
                extra={"model_log": self.model.id},
            )
            self._terminate()
            return False
        assert process.stdout is not None
        try:
            async for data in process.stdout:
                self.log.write(bytes(data))
            code = await process.wait()
        except trio.Cancelled:
            signal_group(process.pid, signal.SIGKILL)
            with trio.CancelScope(shield=True):  # bounded: it was just killed
                with trio.move_on_after(KILL_LIMIT):
                    await process.wait()
            raise
        finally:
            with trio.CancelScope(shield=True):
                await process.stdout.aclose()
        if code != 0:
            logger.error(
                "<%s> cmdStop failed (%s): %s; sending SIGTERM instead",
                self.model.id,
                exit_text(code),
                shown_command(argv),
                extra={"model_log": self.model.id},
            )
            self._terminate()
        return code == 0

    async def end(self, *, keep_rest: bool) -> list[int]:
        """Kill what is left, reap the leader, drain the pipe. Bounded; call it shielded.

        Returns the pids that outlived SIGKILL; then nothing was reaped. With `keep_rest` only the
        leader's end matters, and the pipe goes on being drained.
        """
        if self.exit_code() is None or not keep_rest:
            stuck = await kill_members(self.pid, self.mark, limit=KILL_LIMIT)
            if stuck:
                return stuck
            keep_rest = False
        elif rest := await trio.to_thread.run_sync(members, self.pid, self.mark):
            logger.info("<%s> cmdStop left running: %s", self.model.id, ", ".join(map(str, rest)))
        self.reaped = await self.process.wait()
        if not keep_rest:
            with trio.move_on_after(DRAIN_LIMIT):
                await self.drained.wait()
            self.drain_scope.cancel(reason=f"<{self.model.id}> is gone")
        return []

    async def wait_all_gone(self) -> None:
        """Wait, however long it takes, for processes that outlived SIGKILL; then reap."""
        while await trio.to_thread.run_sync(members, self.pid, self.mark):
            await trio.sleep(STUCK_POLL)
        self.reaped = await self.process.wait()
        self.drain_scope.cancel(reason=f"<{self.model.id}> is gone")

    def describe_exit(self) -> str:
        """How the leader ended, for people."""
        code = self.exit_code()
        return "still running" if code is None else exit_text(code)

    def last_lines(self) -> str:
        """The end of what it said, for a message that explains a failed start."""
        text = self.tail.decode("utf-8", "replace").strip()
        return "\n".join(text.splitlines()[-TAIL_LINES:])
