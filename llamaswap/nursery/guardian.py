"""The program's end of the guardian: no child survives the program, even after SIGKILL.

Source: lifecycle §1.10, Δ13. A parent-death signal would reach only the leaders, and fires when the
spawning thread ends; a process that watches a pipe has neither fault.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import trio
from attrs import define, field

from llamaswap.nursery.process_group import Mark

logger = logging.getLogger(__name__)

PROGRAM = Path(__file__).with_name("guardian_process.py")
RESTART_PAUSE = 1.0
GOODBYE = 2.0  # seconds for the guardian to leave; it has nothing to do then


@define
class Guardian:
    """Keeps a guardian process alive and tells it which process groups live."""

    owner: str
    _groups: set[int] = field(factory=set)
    _kept: set[int] = field(factory=set)
    _pipe: int | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; a guardian that dies is replaced and told everything again."""
        process: trio.Process | None = None
        try:
            while True:
                process = await trio.lowlevel.open_process(
                    [sys.executable, "-I", "-S", str(PROGRAM), self.owner],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    start_new_session=True,  # a Ctrl-C at the terminal is not for it
                )
                assert process.stdin is not None
                self._pipe = os.dup(process.stdin.fileno())  # type: ignore[attr-defined]
                await process.stdin.aclose()
                os.set_blocking(self._pipe, False)
                for group in self._groups:
                    self._say(f"+ {group}")
                for run in self._kept:
                    self._say(f"keep {run}")
                task_status.started()
                task_status = trio.TASK_STATUS_IGNORED
                await process.wait()
                self._hang_up()
                logger.error("the guardian process ended by itself and is started again")
                await trio.sleep(RESTART_PAUSE)
        finally:
            self._say("bye")
            self._hang_up()
            if process is not None:
                with trio.move_on_after(GOODBYE, shield=True):
                    await process.wait()

    def watch(self, group: int) -> None:
        """From now on `group` is killed when the program vanishes."""
        self._groups.add(group)
        self._say(f"+ {group}")

    def forget(self, group: int) -> None:
        """The group is gone, or its end is somebody else's business."""
        self._groups.discard(group)
        self._say(f"- {group}")

    def keep(self, mark: Mark) -> None:
        """What this run left behind on purpose is not to be killed."""
        self._kept.add(mark.run)
        self._say(f"keep {mark.run}")

    def _say(self, line: str) -> None:
        if self._pipe is None:
            return  # told when the guardian is back: run() repeats what is alive
        try:
            os.write(self._pipe, line.encode() + b"\n")
        except OSError as exc:  # it died; run() notices and starts another
            logger.debug("guardian not told %r: %s", line, exc)

    def _hang_up(self) -> None:
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None
