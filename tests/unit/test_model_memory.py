"""Whose memory is it? Processes of models on graphics cards and on the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from llamaswap.telemetry.model_memory import measure, video_memory
from llamaswap.telemetry.samples import MIB, GpuReading, ModelMemory
from llamaswap.telemetry.system_stats import CpuMeter, busy_percent, is_loopback, read_system

NOBODY = 1 << 22  # above the largest process id of Linux


def card(**processes: int) -> GpuReading:
    return GpuReading(id=0, processes={int(k[1:]): v * MIB for k, v in processes.items()})


@pytest.fixture
def wrapper() -> Iterator[subprocess.Popen[bytes]]:
    """A leader in a group of its own, with a child that left the group."""
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-ISc', 'import time; time.sleep(60)'],"
        " start_new_session=True)\n"
        "print(child.pid, flush=True)\n"
        "try: time.sleep(60)\n"
        "finally: child.kill()"
    )
    process = subprocess.Popen(
        [sys.executable, "-ISc", code], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    yield process
    process.send_signal(2)
    process.wait(10)
    process.stdout.close()


def test_every_process_of_a_model_counts_whatever_group_it_is_in(
    wrapper: subprocess.Popen[bytes],
) -> None:
    assert wrapper.stdout is not None
    child = int(wrapper.stdout.readline())
    leaders = {wrapper.pid: "m"}
    both = [
        GpuReading(id=0, processes={wrapper.pid: MIB, child: 2 * MIB}),
        GpuReading(id=1, processes={child: 4 * MIB}),
    ]
    [found] = measure(leaders, both)
    assert (found.model, found.vram_mb, found.vram_reason) == ("m", 7, "")
    assert found.rss_mb >= 8  # two interpreters


def test_a_model_that_uses_no_card_uses_nothing() -> None:
    assert video_memory({10: "a", 11: "b"}, [card(p10=5)]) == ({10: 5 * MIB, 11: 0}, "")


def test_processes_of_nobody_make_the_rest_unknown() -> None:
    held, reason = video_memory({10: "a", 11: "b"}, [card(p10=5, **{f"p{NOBODY}": 7})])
    assert held == {10: 5 * MIB}
    assert "1 processes on the cards belong to no model" in reason


@pytest.mark.parametrize(
    ("readings", "words"),
    [([], "no figures"), ([GpuReading(id=0), GpuReading(id=1)], "does not tell")],
)
def test_what_cannot_be_known_says_why(readings: list[GpuReading], words: str) -> None:
    [found] = measure({os.getpid(): "m"}, readings)
    assert found.vram_mb is None
    assert words in found.vram_reason
    assert found.rss_mb > 0


def test_a_leader_that_is_gone_costs_nothing() -> None:
    assert measure({NOBODY: "m"}, [card(p10=5)]) == [
        ModelMemory(
            model="m",
            rss_mb=0,
            vram_mb=None,
            vram_reason="1 processes on the cards belong to no model: its server may run "
            "in a container or under another user",
        )
    ]


def test_no_model_runs() -> None:
    assert measure({}, [card(p10=5)]) == ()


class Times(tuple[float, ...]):
    """Like psutil's record of one core's times."""

    _fields = ("user", "system", "idle", "iowait", "guest", "guest_nice")
    user = property(lambda self: self[0])
    system = property(lambda self: self[1])
    idle = property(lambda self: self[2])
    iowait = property(lambda self: self[3])
    guest = property(lambda self: self[4])
    guest_nice = property(lambda self: self[5])


@pytest.mark.parametrize(
    ("after", "percent"),
    [
        ((1, 1, 6, 0, 0, 0), 25.0),
        ((1, 1, 3, 3, 0, 0), 25.0),
        ((2, 0, 6, 0, 2, 0), 25.0),
        ((0, 0, 8, 0, 0, 0), 0.0),
        ((0, 0, 0, 0, 0, 0), 0.0),
        ((3, 0, -2, 0, 0, 0), 100.0),
    ],
    ids=["busy", "waiting is idle", "guests are counted once", "idle", "no time", "backwards"],
)
def test_busy_is_what_is_neither_idle_nor_waiting(after: tuple[float, ...], percent: float) -> None:
    assert busy_percent(Times((0.0,) * 6), Times(after)) == percent


def test_the_machine_as_psutil_sees_it() -> None:
    meter = CpuMeter()
    first = read_system(meter)
    for _ in range(200_000):
        pass
    sample = read_system(meter)
    assert set(first.cpu_util_per_core) == {0.0}
    assert len(sample.cpu_util_per_core) == os.cpu_count()
    assert all(0 <= percent <= 100 for percent in sample.cpu_util_per_core)
    assert sample.mem_total_mb > sample.mem_used_mb > 0
    assert sample.at > first.at
    assert sample.at.tzinfo is not None
    names = [counter.name for counter in sample.network]
    assert names == sorted(names)
    assert "lo" not in names


@pytest.mark.parametrize(
    ("name", "loopback"),
    [("lo", True), ("lo0", True), ("Loopback Pseudo-Interface 1", True), ("lodge", False)],
)
def test_what_the_machine_tells_itself_is_no_network(name: str, loopback: bool) -> None:
    assert is_loopback(name) is loopback
