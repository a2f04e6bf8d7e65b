"""What the performance monitor measures, and how that is written as JSON.

Source: telemetry §2.3, §2.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from attrs import frozen

MIB = 1 << 20


def now() -> datetime:
    """Return the present instant, with the local offset."""
    return datetime.now().astimezone()


def timestamp_text(at: datetime) -> str:
    """Write an instant as RFC 3339 with microseconds always, so that it reads back the same."""
    return at.isoformat(timespec="microseconds")


@frozen
class NetworkCounter:
    """What one interface has carried since boot, in bytes."""

    name: str
    bytes_recv: int
    bytes_sent: int


@frozen(kw_only=True)
class SystemSample:
    """The machine at one moment. Sizes in MiB, rounded down."""

    at: datetime
    cpu_util_per_core: Sequence[float]
    """Percent busy since the sample before, by core."""
    mem_total_mb: int
    mem_used_mb: int
    mem_free_mb: int
    """Completely free; less than what is available."""
    swap_total_mb: int = 0
    swap_used_mb: int = 0
    load: tuple[float, float, float] = (0.0, 0.0, 0.0)
    network: Sequence[NetworkCounter] = ()

    def encoded(self) -> bytes:
        """As an entry of `sys_stats`."""
        return msgspec.json.encode(
            {
                "timestamp": timestamp_text(self.at),
                "cpu_util_per_core": list(self.cpu_util_per_core),
                "mem_total_mb": self.mem_total_mb,
                "mem_used_mb": self.mem_used_mb,
                "mem_free_mb": self.mem_free_mb,
                "swap_total_mb": self.swap_total_mb,
                "swap_used_mb": self.swap_used_mb,
                "load_avg_1": self.load[0],
                "load_avg_5": self.load[1],
                "load_avg_15": self.load[2],
                "net_io": [
                    {"name": n.name, "bytes_recv": n.bytes_recv, "bytes_sent": n.bytes_sent}
                    for n in self.network
                ],
            }
        )


@frozen(kw_only=True)
class GpuReading:
    """One graphics card at one moment. None: the source could not tell."""

    id: int
    """Stable within its source."""
    name: str = ""
    uuid: str = ""
    temp_c: int | None = None
    vram_temp_c: int | None = None
    gpu_util_pct: float | None = None
    """Percent of time that it computed."""
    mem_used_mb: int | None = None
    mem_total_mb: int | None = None
    fan_speed_pct: float | None = None
    power_draw_w: float | None = None
    processes: Mapping[int, int] | None = None
    """Bytes of its memory by process id; None: the source does not tell."""

    @property
    def mem_util_pct(self) -> float:
        """Used share of the memory in percent; 0 if its size is unknown."""
        if not self.mem_total_mb or self.mem_used_mb is None:
            return 0.0
        return self.mem_used_mb / self.mem_total_mb * 100

    def fields(self) -> dict[str, Any]:
        """The entry of `gpu_stats` without its timestamp.

        What is unknown is 0, as clients of old expect, and named in `unknown`, so that others
        need not take it for a measurement.
        """
        measured = {
            "temp_c": self.temp_c,
            "vram_temp_c": self.vram_temp_c,
            "gpu_util_pct": self.gpu_util_pct,
            "mem_used_mb": self.mem_used_mb,
            "mem_total_mb": self.mem_total_mb,
            "fan_speed_pct": self.fan_speed_pct,
            "power_draw_w": self.power_draw_w,
        }
        unknown = [name for name, value in measured.items() if value is None]
        entry: dict[str, Any] = {"id": self.id, "name": self.name, "uuid": self.uuid}
        entry |= {name: value or 0 for name, value in measured.items()}
        entry["mem_util_pct"] = self.mem_util_pct
        return entry | ({"unknown": unknown} if unknown else {})


@frozen
class GpuSnapshot:
    """All graphics cards at one moment."""

    at: datetime
    readings: Sequence[GpuReading]

    def encoded(self) -> bytes:
        """As entries of `gpu_stats`, with commas between them."""
        stamp = timestamp_text(self.at)
        return b",".join(
            msgspec.json.encode({"timestamp": stamp} | reading.fields())
            for reading in self.readings
        )


@frozen(kw_only=True)
class ModelMemory:
    """What the processes of one model hold, in MiB."""

    model: str
    rss_mb: int
    vram_mb: int | None
    vram_reason: str = ""
    """Why `vram_mb` is unknown."""

    def fields(self) -> dict[str, Any]:
        """As an entry of `models`."""
        return {
            "model": self.model,
            "rss_mb": self.rss_mb,
            "vram_mb": self.vram_mb,
            "vram_reason": self.vram_reason,
        }
