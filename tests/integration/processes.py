"""Real processes for tests: ports, the misbehaving server, and looking at what is alive."""

from __future__ import annotations

import os
import random
import shlex
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import trio

FAKE = Path(__file__).with_name("fake_upstream.py")


LOWEST, HIGHEST = 10_000, 32_700
"""Below the ports that outgoing connections are given, so that none of those is in the way."""
ROW = 21
"""A port that shows that a row is taken, and twenty to use."""
CLAIMED_ROWS = 100
_claims: deque[int] = deque()
"""Descriptors of sockets bound to such ports, the oldest first."""


def free_ports() -> int:
    """The first of twenty ports in a row that nobody uses now.

    The row stays ours, whatever other tests run on this machine, until a hundred more were asked
    for: a model's port is free before it starts and between two of its lives.
    """
    while True:
        guard = LOWEST + random.randrange((HIGHEST - LOWEST) // ROW) * ROW
        with socket.socket() as claim:
            try:
                claim.bind(("127.0.0.1", guard))
            except OSError:
                continue
            if not all(_is_free(port) for port in range(guard + 1, guard + ROW)):
                continue
            _claims.append(claim.detach())
        if len(_claims) > CLAIMED_ROWS:
            os.close(_claims.popleft())
        return guard + 1


def free_port() -> int:
    """A port nobody listens on, now and for a while."""
    return free_ports()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def fake_command(*flags: str, port: int | None = None) -> str:
    """The `cmd` of a misbehaving server."""
    words = [sys.executable, "-I", "-S", str(FAKE), *flags]
    if port is not None:
        words += ["--port", str(port)]
    return shlex.join(words)


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def settled(condition: Callable[[], bool], *, within: float = 15.0) -> None:
    """Poll until `condition` holds. Raises AssertionError after `within` seconds."""
    with trio.move_on_after(within):
        while not condition():
            await trio.sleep(0.02)
        return
    raise AssertionError(f"did not come true within {within} s: {condition}")


async def read_pids(path: Path) -> list[int]:
    """The pids a misbehaving server wrote down, once it has."""
    await settled(path.exists)
    return [int(line) for line in path.read_text().split()]


def descendants() -> Iterator[psutil.Process]:
    """Everything this test process has started that still runs."""
    for process in psutil.Process().children(recursive=True):
        if is_alive(process.pid):
            yield process
