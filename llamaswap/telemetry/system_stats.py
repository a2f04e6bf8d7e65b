"""Read processor, memory, swap, load and network from the operating system, through psutil.

Everything here blocks for milliseconds: call it in a worker thread. Source: telemetry §2.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from attrs import define

from llamaswap.telemetry.samples import MIB, NetworkCounter, SystemSample, now


@define
class CpuMeter:
    """Share of time each core was busy between two readings.

    psutil's own `cpu_percent` keeps its last reading by thread, so it would compare with whatever
    a worker thread happened to see last.
    """

    _before: Sequence[Any] = ()

    def percent(self) -> Sequence[float]:
        """Percent busy by core since the reading before; 0 at the first."""
        import psutil

        before, self._before = self._before, psutil.cpu_times(percpu=True)
        if len(before) != len(self._before):  # the first, or a core was switched on or off
            return [0.0] * len(self._before)
        return [busy_percent(*pair) for pair in zip(before, self._before, strict=True)]


def busy_percent(before: Any, after: Any) -> float:
    """Percent busy between two of psutil's records of one core's times."""
    spent = {name: max(0.0, getattr(after, name) - getattr(before, name)) for name in after._fields}
    for part_of_user in ("guest", "guest_nice"):  # Linux counts them twice
        spent.pop(part_of_user, None)
    total = sum(spent.values())
    idle = spent["idle"] + spent.get("iowait", 0.0)
    return round((total - idle) / total * 100, 1) if total > 0 else 0.0


def read_system(meter: CpuMeter) -> SystemSample:
    """Measure now. Raises whatever psutil does if processor or memory cannot be read."""
    import psutil

    memory = psutil.virtual_memory()
    swap_total = swap_used = 0
    with suppress(Exception):  # a container may hide it; the rest of the sample is still true
        swap = psutil.swap_memory()
        swap_total, swap_used = swap.total, swap.used
    load = (0.0, 0.0, 0.0)
    with suppress(Exception):
        load = psutil.getloadavg()
    return SystemSample(
        at=now(),
        cpu_util_per_core=meter.percent(),
        mem_total_mb=memory.total // MIB,
        mem_used_mb=memory.used // MIB,
        mem_free_mb=memory.free // MIB,
        swap_total_mb=swap_total // MIB,
        swap_used_mb=swap_used // MIB,
        load=load,
        network=_network(),
    )


def _network() -> Sequence[NetworkCounter]:
    import psutil

    with suppress(Exception):
        counters = psutil.net_io_counters(pernic=True)
        return [
            NetworkCounter(name, counters[name].bytes_recv, counters[name].bytes_sent)
            for name in sorted(counters)
            if not is_loopback(name)
        ]
    return ()


def is_loopback(interface: str) -> bool:
    """Whether an interface only carries what the machine tells itself."""
    return interface in ("lo", "lo0") or interface.startswith("Loopback ")
