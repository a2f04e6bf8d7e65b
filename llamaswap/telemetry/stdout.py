"""The program's standard output: one more bounded subscriber, fed by its own worker thread.

A paused terminal or a pipe nobody reads costs nothing but what it does not read.
Source: telemetry §1.3.
"""

from __future__ import annotations

import os
import select

import trio

from llamaswap.telemetry.loghub import LogHub

BREATH = 0.05
"""Seconds between two writes; what comes meanwhile is written as one."""


async def copy_to_stdout(
    hub: LogHub, fd: int, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Write source `combined` to `fd`, from its history on, until the hub ends with `last`.

    Returns early, and quietly, when the other end of `fd` is gone. A write that hangs is
    abandoned on cancellation, so give it a moment after `hub.end(last=True)`, then cancel.
    """
    limiter = trio.CapacityLimiter(1)  # never waits behind, nor holds up, other threads
    with hub.combined.follow(to_the_last=True) as feed:
        task_status.started()
        async for chunk in feed:
            alive = await trio.to_thread.run_sync(
                _write_all, fd, chunk, limiter=limiter, abandon_on_cancel=True
            )
            if not alive:
                return
            # a thread switch per record would cost a busy program a quarter of its requests
            await hub.wait_over(BREATH)


def _write_all(fd: int, data: bytes) -> bool:
    """Write `data` to `fd`, however long that takes. False: nobody will ever read it."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:  # a terminal someone else made non-blocking
            select.select([], [fd], [])
        except OSError:
            return False
    return True
