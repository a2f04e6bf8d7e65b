"""Processes as the kernel sees them: groups, marks, signals, waiting without reaping.

Every child carries a *mark* in its environment, so that descendants are found even after they left
the process group (wrappers that call setsid). Source: lifecycle §1.8 rule L, §1.14.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress

import psutil
import trio
from attrs import frozen

MARK_VARIABLE = "LLAMASWAP_RUN"
POLL = 0.02  # seconds between looks at a group that is being killed


@frozen
class Mark:
    """Whose child a process is, as it stands in its environment.

    `OWNER_PID-OWNER_STARTED/RUN/KEEP`; the start time tells a dead owner from a reused pid.
    """

    owner: str
    run: int
    keep: bool
    """The operator's `cmdStop` decides how this ends; never swept at a later start."""

    def __str__(self) -> str:
        return f"{self.owner}/{self.run}/{'keep' if self.keep else 'own'}"

    @classmethod
    def parse(cls, text: str) -> Mark | None:
        """Read a mark back; None: the text is not one of ours."""
        owner, _, rest = text.partition("/")
        run, _, keep = rest.partition("/")
        if not owner or not run.isdigit() or keep not in ("keep", "own"):
            return None
        return cls(owner, int(run), keep == "keep")


def owner_id(pid: int | None = None) -> str:
    """Name one life of a program: its pid and when it started, in centiseconds of the epoch."""
    process = psutil.Process(pid)
    return f"{process.pid}-{process.create_time() * 100:.0f}"


def owner_is_alive(owner: str) -> bool:
    """Whether the program that set a mark still runs."""
    pid, _, _ = owner.partition("-")
    try:
        return owner_id(int(pid)) == owner
    except (psutil.NoSuchProcess, ValueError):
        return False


def signal_group(leader: int, sig: signal.Signals) -> bool:
    """Send `sig` to the leader's process group; a group that is gone is no error.

    False: nobody in it may be signalled by us; or, on macOS, all of it is dead.
    """
    try:
        os.killpg(leader, sig)
    except ProcessLookupError:
        pass
    except PermissionError:
        return False
    return True


def signal_each(pids: Iterable[int], sig: signal.Signals) -> None:
    """Send `sig` to single processes; those that are gone are no error."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, sig)


def marked() -> list[tuple[psutil.Process, Mark]]:
    """Every living process of ours to read that carries a mark. Blocks for some milliseconds."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.status() == psutil.STATUS_ZOMBIE:
                continue  # dead; pid 1 of a container may never reap it
            mark = Mark.parse(process.environ().get(MARK_VARIABLE, ""))
            if mark is not None:
                found.append((process, mark))
    return found


def members(leader: int, mark: Mark) -> list[int]:
    """Living processes of the leader's group or with its mark, the leader included.

    Zombies do not count: in a container nobody may reap them. Blocks for some milliseconds.
    """
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            ours = os.getpgid(process.pid) == leader
            if ours or process.environ().get(MARK_VARIABLE) == str(mark):
                found.append(process.pid)
    return found


async def kill_members(leader: int, mark: Mark, *, limit: float) -> list[int]:
    """SIGKILL the group and everything marked until nothing is left; return who survived `limit` s.

    Shields itself; bounded by `limit`. Call it before the leader is reaped, or its id may belong
    to somebody else.
    """
    left: list[int] = []
    with trio.move_on_after(limit, shield=True):
        while left := await trio.to_thread.run_sync(members, leader, mark):
            signal_group(leader, signal.SIGKILL)
            signal_each(left, signal.SIGKILL)
            await trio.sleep(POLL)
    return left


async def wait_exited(pid: int) -> None:
    """Wait until our child `pid` has exited, without reaping it."""
    if hasattr(os, "pidfd_open"):
        descriptor = os.pidfd_open(pid)
        try:
            await trio.lowlevel.wait_readable(descriptor)
        finally:
            os.close(descriptor)
    else:  # macOS
        await trio.to_thread.run_sync(
            os.waitid, os.P_PID, pid, os.WEXITED | os.WNOWAIT, abandon_on_cancel=True
        )


def exit_text(returncode: int) -> str:
    """How a process ended, for people: `exit status 3` or `signal SIGSEGV`."""
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        return f"signal {signal.Signals(-returncode).name}"
    except ValueError:
        return f"signal {-returncode}"
