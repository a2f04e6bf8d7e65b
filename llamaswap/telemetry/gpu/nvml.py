"""NVIDIA's management library. Every call may hang with the driver, so all run in one thread.

Source: telemetry §2.7.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import trio
from attrs import define, field

from llamaswap.telemetry.gpu.source import SourceFailed
from llamaswap.telemetry.samples import MIB, GpuReading

T = TypeVar("T")
LIBRARY = "libnvidia-ml.so.1"
"""As pynvml looks for it on Linux."""


@define
class Nvml:
    """The candidate. Keeps its thread's limiter: a call that hangs is never joined by a second."""

    name: str = "NVML"
    _limiter: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(1), init=False)

    async def open(self, every: float, nursery: trio.Nursery) -> NvmlSource:
        """Load the library."""
        del every, nursery
        if sys.platform == "darwin":
            raise SourceFailed("NVML does not exist on macOS")
        return NvmlSource(await self._call(open_library), self._call)

    async def _call(self, function: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(
            function, limiter=self._limiter, abandon_on_cancel=True
        )


@define
class NvmlSource:
    """The library, loaded."""

    devices: Sequence[Device]
    call: Callable[[Callable[[], Any]], Any]

    async def read(self) -> Sequence[GpuReading]:
        """Ask every device in one go, so that the snapshot is of one moment."""
        readings: Sequence[GpuReading] = await self.call(partial(read_all, self.devices))
        return readings

    async def aclose(self) -> None:
        """Give the library back, unless a call in it hangs."""
        with trio.move_on_after(1.0, shield=True):
            await self.call(close_library)


@define
class Device:
    """One card, with what never changes about it."""

    index: int
    handle: Any
    name: str
    uuid: str


# --- in the thread --------------------------------------------------------------------------------


def open_library() -> Sequence[Device]:
    """Load the library and find its devices. Raises SourceFailed if it is no use here."""
    if sys.platform == "linux" and not is_there(LIBRARY):
        raise SourceFailed("NVML: NVML Shared Library Not Found")
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as exc:
        raise SourceFailed(f"NVML: {exc}") from exc
    try:
        devices = [
            Device(
                index,
                handle,
                _text(pynvml.nvmlDeviceGetName, handle),
                _text(pynvml.nvmlDeviceGetUUID, handle),
            )
            for index in range(pynvml.nvmlDeviceGetCount())
            if (handle := _handle(index)) is not None
        ]
    except pynvml.NVMLError as exc:
        close_library()
        raise SourceFailed(f"NVML: {exc}") from exc
    if not devices:
        close_library()
        raise SourceFailed("NVML: the driver is there but no device")
    return devices


def is_there(library: str) -> bool:
    """Whether the system can load a shared library.

    Asked before pynvml is imported: that takes 3 MB of memory, of no use where there is no driver.
    """
    import ctypes

    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def close_library() -> None:
    """Give the library back; it may be gone already."""
    import pynvml

    with suppress(pynvml.NVMLError):
        pynvml.nvmlShutdown()


def read_all(devices: Sequence[Device]) -> Sequence[GpuReading]:
    """One snapshot. Raises SourceFailed if every device is lost."""
    readings = [reading for device in devices if (reading := read_device(device)) is not None]
    if not readings:
        raise SourceFailed("NVML: every device is lost")
    return readings


def read_device(device: Device) -> GpuReading | None:
    """One card; None if it is lost, which is when it answers nothing at all."""
    import pynvml as n

    ask = _Asking()
    handle = device.handle
    temperature = ask(lambda: n.nvmlDeviceGetTemperatureV(handle, n.NVML_TEMPERATURE_GPU))
    if temperature is None:  # a driver that is older than the call
        temperature = ask(lambda: n.nvmlDeviceGetTemperature(handle, n.NVML_TEMPERATURE_GPU))
    busy = ask(lambda: n.nvmlDeviceGetUtilizationRates(handle).gpu)
    # version 2 keeps what the driver reserves out of `used`, as nvidia-smi does
    memory = ask(lambda: n.nvmlDeviceGetMemoryInfo(handle, version=n.nvmlMemory_v2))
    if memory is None:
        memory = ask(lambda: n.nvmlDeviceGetMemoryInfo(handle))
    milliwatts = ask(lambda: n.nvmlDeviceGetPowerUsage(handle))
    reading = GpuReading(
        id=device.index,
        name=device.name,
        uuid=device.uuid,
        temp_c=temperature,
        vram_temp_c=ask(lambda: _memory_temperature(handle)),
        gpu_util_pct=None if busy is None else float(busy),
        mem_used_mb=None if memory is None else memory.used // MIB,
        mem_total_mb=None if memory is None else memory.total // MIB,
        fan_speed_pct=ask(lambda: float(n.nvmlDeviceGetFanSpeed(handle))),
        power_draw_w=None if milliwatts is None else milliwatts / 1000,
        processes=ask(lambda: processes_on(handle)),
    )
    return reading if ask.answered or not ask.lost else None


def processes_on(handle: Any) -> Mapping[int, int] | None:
    """Bytes of the card's memory by process id, as far as this process may see them.

    None: the driver knows the processes but not their memory (Windows' usual driver model).
    """
    import pynvml as n

    found: dict[int, int] = {}
    entries = list(n.nvmlDeviceGetComputeRunningProcesses_v3(handle))
    with suppress(n.NVMLError):
        entries += n.nvmlDeviceGetGraphicsRunningProcesses_v3(handle)
    for process in entries:
        if process.usedGpuMemory is None:
            return None
        # one that computes and draws is in both lists, with the same figure
        found.setdefault(process.pid, process.usedGpuMemory)
    return found


@define
class _Asking:
    """Asks one thing after the other; what is not supported is None and costs nothing else."""

    answered: bool = False
    lost: bool = False

    def __call__(self, question: Callable[[], Any]) -> Any:
        import pynvml

        try:
            answer = question()
        except pynvml.NVMLError as exc:
            self.lost = self.lost or exc.value in (
                pynvml.NVML_ERROR_GPU_IS_LOST,
                pynvml.NVML_ERROR_UNINITIALIZED,
                pynvml.NVML_ERROR_UNKNOWN,
            )
            return None
        self.answered = self.answered or answer is not None
        return answer


def _memory_temperature(handle: Any) -> int | None:
    import pynvml

    [value] = pynvml.nvmlDeviceGetFieldValues(handle, [pynvml.NVML_FI_DEV_MEMORY_TEMP])
    if value.nvmlReturn != pynvml.NVML_SUCCESS or value.value.uiVal == 0:
        return None
    return int(value.value.uiVal)


def _handle(index: int) -> Any | None:
    import pynvml

    try:
        return pynvml.nvmlDeviceGetHandleByIndex(index)
    except pynvml.NVMLError:  # fallen off the bus; the others are still there
        return None


def _text(call: Callable[[Any], Any], handle: Any) -> str:
    import pynvml

    try:
        text = call(handle)
    except pynvml.NVMLError:
        return ""
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
