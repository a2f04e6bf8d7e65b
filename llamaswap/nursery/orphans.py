"""What a killed predecessor left running: found by its mark at start, and ended.

The guardian normally sees to this within seconds; it too can be killed (an out-of-memory killer, a
container runtime). Source: lifecycle Δ13.
"""

from __future__ import annotations

import logging
import signal
from contextlib import suppress

import psutil
import trio

from llamaswap.nursery.process_group import POLL, marked, owner_is_alive, signal_each

logger = logging.getLogger(__name__)

GRACE = 2.0
LIMIT = 5.0


async def sweep_orphans() -> None:
    """End marked processes whose program is gone; report those that `cmdStop` rules over.

    Returns when they are gone, at most `GRACE + LIMIT` seconds later; with none at once.
    """
    orphans = await trio.to_thread.run_sync(_orphans)
    ours = [process for process, keep in orphans if not keep]
    for process, keep in orphans:
        logger.warning(
            "process %d (%s) is left from a killed llamaswap; %s",
            process.pid,
            _name(process),
            "its model has a cmdStop, so it is left alone" if keep else "stopping it",
        )
    if not ours:
        return
    signal_each((process.pid for process in ours), signal.SIGTERM)
    with trio.move_on_after(GRACE):
        await _wait_gone(ours)
        return
    signal_each((process.pid for process in ours if _runs(process)), signal.SIGKILL)
    with trio.move_on_after(LIMIT):
        await _wait_gone(ours)
        return
    left = ", ".join(str(process.pid) for process in ours if _runs(process))
    logger.error("processes %s outlived SIGKILL and may still hold memory", left)


def _orphans() -> list[tuple[psutil.Process, bool]]:
    return [(process, mark.keep) for process, mark in marked() if not owner_is_alive(mark.owner)]


async def _wait_gone(processes: list[psutil.Process]) -> None:
    while any(_runs(process) for process in processes):
        await trio.sleep(POLL)


def _runs(process: psutil.Process) -> bool:
    """Whether this very process lives; psutil compares start times, so a reused pid is no."""
    with suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def _name(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return process.name()
    return "gone"
