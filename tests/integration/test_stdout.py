"""Case T14 of telemetry §9: standard output that is slow, stuck or gone."""

from __future__ import annotations

import fcntl
import os
import sys
import termios
from collections.abc import Iterator
from functools import partial

import pytest
import trio

from llamaswap.telemetry.loghub import LogHub
from llamaswap.telemetry.stdout import copy_to_stdout


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    for fd in (read, write):
        try:
            os.close(fd)
        except OSError:
            continue  # the test closed it


async def read_all(fd: int) -> bytes:
    parts = []
    while part := await trio.to_thread.run_sync(os.read, fd, 65536):
        parts.append(part)
    return b"".join(parts)


async def test_everything_from_the_first_record_on_is_printed(pipe: tuple[int, int]) -> None:
    read, write = pipe
    hub = LogHub("both")
    hub.write_proxy(b"early\n")
    async with trio.open_nursery() as nursery:
        await nursery.start(copy_to_stdout, hub, write)
        hub.model("m").write(b"live \xff\n")
        hub.end(last=True)
    os.close(write)
    assert await read_all(read) == b"early\nlive \xff\n"


async def test_a_blocked_stdout_blocks_nothing_and_marks_what_it_missed(
    pipe: tuple[int, int],
) -> None:
    read, write = pipe
    hub = LogHub("upstream")
    chunk = b"x" * 65536
    async with trio.open_nursery() as nursery:
        await nursery.start(copy_to_stdout, hub, write)
        with hub.upstream.follow(limit=1 << 30) as other:
            for _ in range(64):
                hub.model("m").write(chunk)
                await trio.lowlevel.checkpoint()
            assert len(await anext(other)) == 64 * 65536
        reader = partial(read_all, read)
        async with trio.open_nursery() as readers:
            printed: list[bytes] = []

            async def collect() -> None:
                printed.append(await reader())

            readers.start_soon(collect)
            hub.end(last=True)
            while hub.combined.followers:
                await trio.sleep(0.01)
            os.close(write)
    assert "bytes dropped —\n".encode() in printed[0]


async def test_a_blocked_stdout_does_not_hold_up_the_end(pipe: tuple[int, int]) -> None:
    read, write = pipe
    hub = LogHub("upstream")
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(copy_to_stdout, hub, write)
            hub.model("m").write(b"x" * (1 << 20))
            while not waiting_in(read):  # a pipe holds less than a MiB, so the write hangs
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    assert hub.combined.followers == 0
    os.close(read)  # releases the abandoned thread


def waiting_in(fd: int) -> int:
    """Bytes that can be read from `fd` now."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)


async def test_a_dead_pipe_is_given_up_quietly(pipe: tuple[int, int]) -> None:
    read, write = pipe
    os.close(read)
    hub = LogHub()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(copy_to_stdout, hub, write)
            hub.write_proxy(b"nobody reads this\n")
    assert hub.combined.followers == 0
    hub.write_proxy(b"and life goes on\n")
    assert hub.combined.history().endswith(b"goes on\n")


async def test_a_terminal_made_non_blocking_by_others_loses_nothing(pipe: tuple[int, int]) -> None:
    read, write = pipe
    fcntl.fcntl(write, fcntl.F_SETFL, fcntl.fcntl(write, fcntl.F_GETFL) | os.O_NONBLOCK)
    hub = LogHub("upstream")
    text = b"0123456789" * 50_000
    printed: list[bytes] = []

    async def collect() -> None:
        printed.append(await read_all(read))

    async with trio.open_nursery() as readers:
        readers.start_soon(collect)
        async with trio.open_nursery() as nursery:
            await nursery.start(copy_to_stdout, hub, write)
            hub.model("m").write(text)
            hub.end(last=True)
        os.close(write)
    assert printed == [text]
