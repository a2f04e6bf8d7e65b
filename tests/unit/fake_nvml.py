"""What ctypes would have loaded as libnvidia-ml.so.1: functions that fill the structures given.

pynvml itself is the real one, so its structures, versions and return codes are tested with it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

import pynvml
import pytest
from attrs import define, field

from llamaswap.telemetry.gpu import nvml

GIB = 1 << 30


@define(eq=False)
class Card:
    """One card of the fake driver. An entry of `errors` is what that function returns instead."""

    name: str = "NVIDIA L40S"
    uuid: str = "GPU-1"
    bus: str = "00000000:41:00.0"
    temperature: int = 51
    memory_temperature: int = 58
    busy: int = 37
    bus_activity: int = 2
    total: int = 46068 << 20
    used: int = 8 * GIB
    reserved: int = 500 << 20
    fan: int = 40
    milliwatts: int = 96_400
    limit_milliwatts: int = 350_000
    architecture: int = 8
    compute: Mapping[int, int | None] = field(factory=dict)
    graphics: Mapping[int, int | None] = field(factory=dict)
    errors: dict[str, int] = field(factory=dict)
    handle: Any = field(factory=lambda: pynvml.struct_c_nvmlDevice_t())

    def lose(self) -> None:
        """Fall off the bus."""
        for name in dir(FakeNvml):
            if name.startswith("nvmlDevice"):
                self.errors[name] = pynvml.NVML_ERROR_GPU_IS_LOST


class FakeNvml:
    """The library. Function names and arguments are the C ones."""

    def __init__(self, *cards: Card, missing: tuple[str, ...] = (), init: int = 0) -> None:
        self.cards = list(cards)
        self.missing = missing
        self.init = init
        self.loaded = 0
        self.on_call: Callable[[str], None] = lambda name: None

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("nvml"):
            if name in self.missing:
                raise AttributeError(name)
            self.on_call(name)
        return object.__getattribute__(self, name)

    def nvmlInitWithFlags(self, flags: int) -> int:
        if not self.init:
            self.loaded += 1
        return self.init

    def nvmlShutdown(self) -> int:
        self.loaded -= 1
        return 0

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = len(self.cards)
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, handle: Any) -> int:
        card = self.cards[index.value]
        handle._obj.contents = card.handle
        return int(card.errors.get("nvmlDeviceGetHandleByIndex_v2", 0))

    def nvmlSystemGetDriverVersion(self, text: Any, size: Any) -> int:
        text.value = b"570.124.06"
        return 0

    def nvmlDeviceGetName(self, handle: Any, text: Any, size: Any) -> int:
        return self._answer(handle, "nvmlDeviceGetName", lambda c: _write(text, c.name))

    def nvmlDeviceGetUUID(self, handle: Any, text: Any, size: Any) -> int:
        return self._answer(handle, "nvmlDeviceGetUUID", lambda c: _write(text, c.uuid))

    def nvmlDeviceGetPciInfo_v3(self, handle: Any, info: Any) -> int:
        def fill(card: Card) -> None:
            info._obj.busId = card.bus.encode()

        return self._answer(handle, "nvmlDeviceGetPciInfo_v3", fill)

    def nvmlDeviceGetTemperatureV(self, handle: Any, temperature: Any) -> int:
        def fill(card: Card) -> None:
            temperature._obj.temperature = card.temperature

        return self._answer(handle, "nvmlDeviceGetTemperatureV", fill)

    def nvmlDeviceGetTemperature(self, handle: Any, sensor: Any, value: Any) -> int:
        return self._value(handle, "nvmlDeviceGetTemperature", value, "temperature")

    def nvmlDeviceGetUtilizationRates(self, handle: Any, rates: Any) -> int:
        def fill(card: Card) -> None:
            rates._obj.gpu, rates._obj.memory = card.busy, card.bus_activity

        return self._answer(handle, "nvmlDeviceGetUtilizationRates", fill)

    def nvmlDeviceGetMemoryInfo_v2(self, handle: Any, info: Any) -> int:
        def fill(card: Card) -> None:
            info._obj.total, info._obj.used = card.total, card.used
            info._obj.reserved = card.reserved

        return self._answer(handle, "nvmlDeviceGetMemoryInfo_v2", fill)

    def nvmlDeviceGetMemoryInfo(self, handle: Any, info: Any) -> int:
        def fill(card: Card) -> None:
            info._obj.total, info._obj.used = card.total, card.used + card.reserved

        return self._answer(handle, "nvmlDeviceGetMemoryInfo", fill)

    def nvmlDeviceGetFanSpeed(self, handle: Any, value: Any) -> int:
        return self._value(handle, "nvmlDeviceGetFanSpeed", value, "fan")

    def nvmlDeviceGetPowerUsage(self, handle: Any, value: Any) -> int:
        return self._value(handle, "nvmlDeviceGetPowerUsage", value, "milliwatts")

    def nvmlDeviceGetPowerManagementLimit(self, handle: Any, value: Any) -> int:
        return self._value(handle, "nvmlDeviceGetPowerManagementLimit", value, "limit_milliwatts")

    def nvmlDeviceGetArchitecture(self, handle: Any, value: Any) -> int:
        return self._value(handle, "nvmlDeviceGetArchitecture", value, "architecture")

    def nvmlDeviceGetFieldValues(self, handle: Any, count: Any, values: Any) -> int:
        def fill(card: Card) -> None:
            [field_value] = values._obj
            assert field_value.fieldId == pynvml.NVML_FI_DEV_MEMORY_TEMP
            field_value.nvmlReturn = card.errors.get("memory temperature", 0)
            field_value.value.uiVal = card.memory_temperature

        return self._answer(handle, "nvmlDeviceGetFieldValues", fill)

    def nvmlDeviceGetComputeRunningProcesses_v3(self, handle: Any, count: Any, array: Any) -> int:
        return self._processes(handle, "Compute", count, array)

    def nvmlDeviceGetGraphicsRunningProcesses_v3(self, handle: Any, count: Any, array: Any) -> int:
        return self._processes(handle, "Graphics", count, array)

    def _processes(self, handle: Any, kind: str, count: Any, array: Any) -> int:
        card = self._card(handle)
        if code := card.errors.get(f"nvmlDeviceGet{kind}RunningProcesses_v3"):
            return code
        found = card.compute if kind == "Compute" else card.graphics
        if array is None:
            count._obj.value = len(found)
            return pynvml.NVML_ERROR_INSUFFICIENT_SIZE if found else 0
        for entry, (pid, used) in zip(array, found.items(), strict=False):
            entry.pid = pid
            entry.usedGpuMemory = (
                pynvml.NVML_VALUE_NOT_AVAILABLE_ulonglong.value if used is None else used
            )
        count._obj.value = len(found)
        return 0

    def _card(self, handle: Any) -> Card:
        address = ctypes.addressof(handle.contents)
        return next(card for card in self.cards if ctypes.addressof(card.handle) == address)

    def _answer(self, handle: Any, function: str, fill: Callable[[Card], None]) -> int:
        card = self._card(handle)
        code = card.errors.get(function, 0)
        if not code:
            fill(card)
        return code

    def _value(self, handle: Any, function: str, value: Any, name: str) -> int:
        def fill(card: Card) -> None:
            value._obj.value = getattr(card, name)

        return self._answer(handle, function, fill)


def _write(buffer: Any, text: str) -> None:
    buffer.value = text.encode()


def install(monkeypatch: pytest.MonkeyPatch, library: FakeNvml | None) -> None:
    """Let pynvml find `library` when it loads its own; None: there is none."""

    def load(name: str) -> FakeNvml:
        if library is None:
            raise OSError(f"{name}: cannot open shared object file")
        return library

    monkeypatch.setattr(nvml, "is_there", lambda name: library is not None)
    monkeypatch.setattr(pynvml, "CDLL", load)
    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
