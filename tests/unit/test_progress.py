"""Whoever waits longer than two seconds is told what for. Source: issue on operations."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import trio
from trio.testing import MockClock

from llamaswap.commands.progress import progress, steps


@contextmanager
def a_terminal() -> Iterator[int]:
    """A real one as stderr; its other end, without blocking. Not a fixture: pytest sets stderr
    anew between those and the test."""
    ours, theirs = os.openpty()
    os.set_blocking(ours, False)
    before = sys.stderr
    with os.fdopen(theirs, "w") as sys.stderr:
        try:
            yield ours
        finally:
            sys.stderr = before
    os.close(ours)


def shown(terminal: int, expected: str = "") -> str:
    """What came since the last look: the system hands it over a moment after it was written, so
    that as much as is `expected` is waited for."""
    came = ""
    while True:
        with suppress(BlockingIOError):
            came += os.read(terminal, 65536).decode()
        if len(came) >= len(expected) or not select.select((terminal,), (), (), 20)[0]:
            return came


async def test_a_terminal_has_one_line_that_counts_and_goes(autojump_clock: MockClock) -> None:
    with a_terminal() as terminal:
        async with progress("loading m"):
            await trio.sleep(1.9)
            assert shown(terminal) == ""
            await trio.sleep(2.5)
            counted = "".join(f"\rloading m: {n} s\x1b[K" for n in (2, 3, 4))
            assert shown(terminal, counted) == counted
        assert shown(terminal, "\r\x1b[K") == "\r\x1b[K"


async def test_what_is_quick_says_nothing(autojump_clock: MockClock) -> None:
    with a_terminal() as terminal:
        async with progress("loading m"):
            await trio.sleep(1.9)
        assert shown(terminal) == ""


async def test_a_log_gets_a_line_every_ten_seconds(
    capsys: pytest.CaptureFixture[str], autojump_clock: MockClock
) -> None:
    async with progress("loading m"):
        await trio.sleep(25)
    assert capsys.readouterr() == ("", "loading m: 2 s\nloading m: 12 s\nloading m: 22 s\n")


def test_steps_are_counted_once_they_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with a_terminal() as terminal:
        for _ in steps("simulating", range(8)):
            now += 0.5
        said = "\rsimulating: 4 of 8\x1b[K\rsimulating: 6 of 8\x1b[K\r\x1b[K"  # at 2 s and 3 s
        assert shown(terminal, said) == said
