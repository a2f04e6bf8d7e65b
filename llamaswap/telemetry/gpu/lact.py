"""LACT, a daemon for graphics cards of all vendors, through its Unix socket.

One JSON object per line each way, one connection per reading. Source: telemetry §2.6.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import trio
from attrs import define

from llamaswap.telemetry.gpu.source import SourceFailed, number, whole
from llamaswap.telemetry.samples import MIB, GpuReading

VARIABLE = "LACT_DAEMON_SOCKET_PATH"
CONNECT_LIMIT = 2.0
EXCHANGE_LIMIT = 5.0
LINE_LIMIT = 1 << 20
CORE_SENSORS = ("edge", "junction", "GPU", "GPU Hotspot")
MEMORY_SENSORS = ("mem", "VRAM")


@define
class Lact:
    """The candidate, and the source: nothing is held between two readings."""

    folder: Path = Path("/run")
    name: str = "LACT"

    async def open(self, every: float, nursery: trio.Nursery) -> Lact:
        """Hold nothing: the daemon may be restarted at any time."""
        del every, nursery
        self._socket()
        return self

    async def aclose(self) -> None:
        """Nothing is held."""

    async def read(self) -> Sequence[GpuReading]:
        """Ask the daemon for all its devices."""
        with trio.move_on_after(EXCHANGE_LIMIT):
            return await self._ask_all()
        raise SourceFailed(f"LACT did not answer within {EXCHANGE_LIMIT:g} s")

    def _socket(self) -> str:
        """Where the daemon listens: what the variable names, else the usual places."""
        user = os.getuid() if hasattr(os, "getuid") else 0
        places = (
            os.environ.get(VARIABLE, ""),
            str(self.folder / "lactd.sock"),
            str(self.folder / "user" / str(user) / "lactd.sock"),
        )
        for place in places:
            if place and Path(place).exists():  # a set but missing path falls through
                return place
        raise SourceFailed("no LACT daemon listens")

    async def _ask_all(self) -> Sequence[GpuReading]:
        path = self._socket()
        try:
            with trio.fail_after(CONNECT_LIMIT):
                stream = await trio.open_unix_socket(path)
        except (OSError, trio.TooSlowError) as exc:
            raise SourceFailed(f"LACT does not accept on {path}: {exc}") from exc
        async with stream:
            connection = _Connection(stream)
            devices = await connection.ask({"command": "list_devices"})
            if not isinstance(devices, list) or not devices:
                raise SourceFailed("LACT lists no devices")
            readings = [
                reading
                for index, device in enumerate(devices)
                if (reading := await _device(connection, index, device)) is not None
            ]
        if not readings:
            raise SourceFailed("LACT lists no device with memory of its own")
        return readings


@define
class _Connection:
    stream: trio.SocketStream
    _rest: bytes = b""

    async def ask(self, request: Mapping[str, Any]) -> Any:
        """Return the `data` of the answer. Raises SourceFailed for anything but `ok`."""
        try:
            await self.stream.send_all(msgspec.json.encode(request) + b"\n")
            answer = msgspec.json.decode(await self._line())
        except (trio.BrokenResourceError, msgspec.DecodeError) as exc:
            raise SourceFailed(f"LACT answers {request['command']} with no JSON: {exc}") from exc
        if not isinstance(answer, dict) or answer.get("status") != "ok":
            raise SourceFailed(f"LACT refuses {request['command']}: {answer}")
        return answer.get("data")

    async def _line(self) -> bytes:
        while b"\n" not in self._rest:
            chunk = await self.stream.receive_some()
            if not chunk or len(self._rest) > LINE_LIMIT:
                raise SourceFailed("LACT ended the connection in the middle of an answer")
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        return line


async def _device(connection: _Connection, index: int, device: Any) -> GpuReading | None:
    """One device; None if it does not answer for itself or has no memory (virtual adapters)."""
    if not isinstance(device, dict) or not isinstance(device.get("id"), str):
        return None
    try:
        stats = await connection.ask({"command": "device_stats", "args": {"id": device["id"]}})
    except SourceFailed:
        return None
    reading = reading_of(index, device, stats if isinstance(stats, dict) else {})
    return reading if reading.mem_total_mb else None


def reading_of(index: int, device: Mapping[str, Any], stats: Mapping[str, Any]) -> GpuReading:
    """Translate one answer to `device_stats`; any field may be missing or null."""
    memory, fan, power = (_mapping(stats.get(key)) for key in ("vram", "fan", "power"))
    temperatures = {
        name: value
        for name, entry in _mapping(stats.get("temps")).items()
        if (value := number(_mapping(entry).get("current"))) is not None
    }
    pwm = number(fan.get("pwm_current"))
    return GpuReading(
        id=index,
        name=str(device.get("name") or device["id"]),
        uuid=device["id"],
        temp_c=_core_temperature(temperatures),
        vram_temp_c=_memory_temperature(temperatures),
        gpu_util_pct=number(stats.get("busy_percent")),
        mem_used_mb=_mib(memory.get("used")),
        mem_total_mb=_mib(memory.get("total")),
        fan_speed_pct=None if pwm is None else pwm / 255 * 100,
        power_draw_w=_power(power),
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _mib(value: Any) -> int | None:
    count = whole(value)
    return None if count is None else count // MIB


def _power(power: Mapping[str, Any]) -> float | None:
    average = number(power.get("average"))
    return average if average is not None and average > 0 else number(power.get("current"))


def _core_temperature(temperatures: Mapping[str, float]) -> int | None:
    others = sorted(n for n in temperatures if "mem" not in n.lower() and "vram" not in n.lower())
    for name in (*CORE_SENSORS, *others):
        if name in temperatures:
            return int(temperatures[name])
    return None


def _memory_temperature(temperatures: Mapping[str, float]) -> int | None:
    for name in MEMORY_SENSORS:
        if temperatures.get(name, 0) > 0:
            return int(temperatures[name])
    return None
