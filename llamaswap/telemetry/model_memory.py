"""How much memory the processes of each model hold, on the machine and on its graphics cards.

A process belongs to a model if it is in the process group or session of the model's leader, or
descends from it. Blocks for some milliseconds: call it in a worker thread.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress

from llamaswap.telemetry.samples import MIB, GpuReading, ModelMemory


def measure(leaders: Mapping[int, str], readings: Sequence[GpuReading]) -> Sequence[ModelMemory]:
    """Measure the model of every leader (by process id); `readings`: all cards, newest."""
    if not leaders:
        return ()
    rss = _resident(leaders)
    vram, reason = video_memory(leaders, readings)
    return [
        ModelMemory(
            model=model,
            rss_mb=rss.get(leader, 0) // MIB,
            vram_mb=None if (held := vram.get(leader)) is None else held // MIB,
            vram_reason=reason if held is None else "",
        )
        for leader, model in leaders.items()
    ]


def video_memory(
    leaders: Mapping[int, str], readings: Sequence[GpuReading]
) -> tuple[Mapping[int, int], str]:
    """Bytes by leader, over all cards; a leader that is missing is unknown, and why.

    Memory held by processes of nobody makes models without a share unknown rather than 0: their
    servers may run in a container, whose processes are not ours.
    """
    if not readings:
        return {}, "no figures of graphics cards"
    if all(reading.processes is None for reading in readings):
        return {}, "the source of GPU figures does not tell memory by process"
    held: dict[int, int] = {}
    foreign = 0
    for reading in readings:
        for pid, count in (reading.processes or {}).items():
            leader = leader_of(pid, leaders)
            if leader is None:
                foreign += 1
            else:
                held[leader] = held.get(leader, 0) + count
    if foreign:
        return held, (
            f"{foreign} processes on the cards belong to no model: its server may run "
            "in a container or under another user"
        )
    return {leader: held.get(leader, 0) for leader in leaders}, ""


def leader_of(pid: int, leaders: Mapping[int, str]) -> int | None:
    """The leader whose process `pid` is; None if it is nobody's, or not to be seen."""
    if pid in leaders:
        return pid
    with suppress(OSError):
        for candidate in (os.getpgid(pid), os.getsid(pid)):
            if candidate in leaders:
                return candidate
    import psutil

    with suppress(psutil.Error):
        for parent in psutil.Process(pid).parents():
            if parent.pid in leaders:
                return int(parent.pid)
    return None


def _resident(leaders: Mapping[int, str]) -> Mapping[int, int]:
    """Resident bytes by leader; pages that processes share count for each of them."""
    import psutil

    owners = {leader: leader for leader in leaders}
    for pid in psutil.pids():
        with suppress(OSError):
            if (group := os.getpgid(pid)) in leaders:
                owners[pid] = group
    for leader in leaders:
        with suppress(psutil.Error):  # descendants that left the group: wrappers that call setsid
            for child in psutil.Process(leader).children(recursive=True):
                owners[child.pid] = leader
    found: dict[int, int] = {}
    for pid, leader in owners.items():
        with suppress(psutil.Error):
            found[leader] = found.get(leader, 0) + psutil.Process(pid).memory_info().rss
    return found
