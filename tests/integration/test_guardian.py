"""No child survives the program, whatever kills it. Source: lifecycle §1.10, I19."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from llamaswap.nursery.guardian import PROGRAM, Guardian
from llamaswap.nursery.orphans import sweep_orphans
from llamaswap.nursery.process_group import MARK_VARIABLE, Mark, owner_id
from tests.integration.processes import is_alive, settled

SLEEPER = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(120)"


def stubborn(mark: Mark | None) -> subprocess.Popen[bytes]:
    """A process in its own group that ignores SIGTERM."""
    env = dict(os.environ)
    env.pop(MARK_VARIABLE, None)
    if mark is not None:
        env[MARK_VARIABLE] = str(mark)
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", SLEEPER], env=env, start_new_session=True
    )


def start_guardian(owner: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(PROGRAM), owner], stdin=subprocess.PIPE
    )


async def test_the_guardian_kills_registered_groups_and_marked_strays() -> None:
    alive = owner_id()  # else a program that starts meanwhile would sweep what is its
    owner = alive[:-1]
    group, stray = stubborn(None), stubborn(Mark(owner, 2, keep=False))
    kept, foreign = stubborn(Mark(owner, 3, keep=True)), stubborn(Mark(alive, 4, keep=False))
    guardian = start_guardian(owner)
    assert guardian.stdin is not None
    try:
        guardian.stdin.write(b"+ %d\nkeep 3\n" % group.pid)
        guardian.stdin.close()
        # wait() reaps: a zombie's group would seem alive to the guardian
        await trio.to_thread.run_sync(group.wait)
        await trio.to_thread.run_sync(stray.wait)
        await trio.to_thread.run_sync(guardian.wait)
        assert is_alive(kept.pid)
        assert is_alive(foreign.pid)
    finally:
        for process in (group, stray, kept, foreign, guardian):
            process.kill()
            process.wait()


async def test_the_guardian_leaves_everything_alone_after_a_goodbye() -> None:
    group = stubborn(None)
    guardian = start_guardian("1-124")
    assert guardian.stdin is not None
    try:
        guardian.stdin.write(b"+ %d\nbye\n" % group.pid)
        guardian.stdin.close()
        assert await trio.to_thread.run_sync(guardian.wait) == 0
        assert is_alive(group.pid)
    finally:
        for process in (group, guardian):
            process.kill()
            process.wait()


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_the_guardian_survives_what_stops_the_program(sig: signal.Signals) -> None:
    guardian = start_guardian("1-125")
    assert guardian.stdin is not None
    try:
        await settled(lambda: Path(f"/proc/{guardian.pid}/status").read_text().find("SigIgn") > 0)
        await settled(lambda: _ignores(guardian.pid, sig))
        guardian.send_signal(sig)
        guardian.stdin.write(b"bye\n")
        guardian.stdin.close()
        assert await trio.to_thread.run_sync(guardian.wait) == 0
    finally:
        guardian.kill()
        guardian.wait()


def _ignores(pid: int, sig: signal.Signals) -> bool:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigIgn:"):
            return bool(int(line.split()[1], 16) & (1 << (sig - 1)))
    return False


async def test_a_guardian_that_dies_is_replaced_and_told_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    guardian = Guardian("1-126")
    group = stubborn(None)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(guardian.run)
            guardian.watch(group.pid)
            first = _guardian_pid("1-126")
            os.kill(first, signal.SIGKILL)
            await settled(lambda: _guardian_pid("1-126") not in (0, first))
            second = _guardian_pid("1-126")
            await settled(lambda: _ignores(second, signal.SIGTERM))
            # it may be at work before we know that it was started
            await settled(lambda: guardian._pipe is not None)
            guardian._hang_up()  # as if the program had vanished
            await trio.to_thread.run_sync(group.wait)
            await settled(lambda: not is_alive(second))
            nursery.cancel_scope.cancel()
        assert "started again" in caplog.text
    finally:
        group.kill()
        group.wait()


def _guardian_pid(owner: str) -> int:
    import psutil

    for child in psutil.Process().children():
        if is_alive(child.pid) and owner in child.cmdline():
            return child.pid
    return 0


async def test_orphans_of_a_dead_program_are_swept_and_others_are_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    dead = f"{os.getpid()}-1"  # this pid, but another life of it
    orphan, kept = stubborn(Mark(dead, 1, keep=False)), stubborn(Mark(dead, 2, keep=True))
    ours = stubborn(Mark(owner_id(), 3, keep=False))
    try:
        await settled(lambda: is_alive(orphan.pid))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sweep_orphans)
            await trio.to_thread.run_sync(orphan.wait)
        assert is_alive(kept.pid)
        assert is_alive(ours.pid)
        assert f"process {orphan.pid}" in caplog.text
        assert "left alone" in caplog.text
    finally:
        for process in (orphan, kept, ours):
            process.kill()
            process.wait()
