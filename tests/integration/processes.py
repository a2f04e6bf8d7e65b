"""Real processes for tests: ports, the misbehaving server, and looking at what is alive."""

from __future__ import annotations

import os
import random
import shlex
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import trio

FAKE = Path(__file__).with_name("fake_upstream.py")


def free_port() -> int:
    """A port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def free_ports(count: int = 10) -> int:
    """The first of `count` ports in a row that nobody uses now.

    Below the range that outgoing connections take theirs from, so none of those is in the way.
    Tests that run side by side have each their own part of it.
    """
    share = 11_000 // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    lowest = 20_000 + share * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    while True:
        first = random.randrange(lowest, lowest + share - count)
        if all(_is_free(port) for port in range(first, first + count)):
            return first


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
