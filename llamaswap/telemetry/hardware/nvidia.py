"""NVIDIA's devices for the hardware report: by NVML, else by `nvidia-smi`.

Source: telemetry §4.3.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any

from attrs import evolve

from llamaswap.telemetry.gpu.nvml import close_library, open_library
from llamaswap.telemetry.gpu.source import SourceFailed, number
from llamaswap.telemetry.gpu.tool import find_tool, output_of
from llamaswap.telemetry.hardware.report import Accelerator, clean, pci_address, positive, watts
from llamaswap.telemetry.samples import MIB

FIELDS = "index,name,uuid,pci.bus_id,memory.total,driver_version,power.limit"
COLUMNS = 7
LIMIT = 5.0
BY_NUMBER = {
    2: "Kepler", 3: "Maxwell", 4: "Pascal", 5: "Volta", 6: "Turing",
    7: "Ampere", 8: "Ada Lovelace", 9: "Hopper", 10: "Blackwell",
}  # fmt: skip
BY_CAPABILITY = {
    "7.0": "Volta", "7.2": "Volta", "7.5": "Turing", "8.0": "Ampere", "8.6": "Ampere",
    "8.7": "Ampere", "8.9": "Ada Lovelace", "9.0": "Hopper", "10.0": "Blackwell",
    "10.3": "Blackwell", "11.0": "Blackwell", "12.0": "Blackwell", "12.1": "Blackwell",
}  # fmt: skip
BY_MAJOR = {"2": "Fermi", "3": "Kepler", "5": "Maxwell", "6": "Pascal"}


def architecture_by_capability(capability: str) -> str | None:
    """The architecture of a compute capability like `8.9`."""
    major = capability.strip().partition(".")[0]
    return BY_CAPABILITY.get(capability.strip()) or BY_MAJOR.get(major)


def by_nvml() -> Sequence[Accelerator]:
    """All devices. Blocks, in a driver: call it in a worker thread. Raises SourceFailed."""
    devices = open_library()
    import pynvml as n

    try:
        version = clean(_ask(n.nvmlSystemGetDriverVersion))
        return [_by_handle(device.handle, device.name, version) for device in devices]
    finally:
        close_library()


def _by_handle(handle: Any, name: str, version: str | None) -> Accelerator:
    import pynvml as n

    info = _ask(n.nvmlDeviceGetMemoryInfo, handle)
    milliwatts = _ask(n.nvmlDeviceGetPowerManagementLimit, handle)
    architecture = _ask(n.nvmlDeviceGetArchitecture, handle)
    return Accelerator(
        identity=pci_address(_bus_id(_ask(n.nvmlDeviceGetPciInfo, handle))),
        vendor="NVIDIA",
        model=clean(name),
        architecture=None if architecture is None else BY_NUMBER.get(architecture),
        memory_kind="dedicated",
        memory_bytes=None if info is None else positive(info.total),
        driver_name="NVIDIA",
        driver_version=version,
        power_limit=None if milliwatts is None else watts(milliwatts / 1000),
    )


def _bus_id(info: Any) -> str:
    bus = getattr(info, "busId", "")
    return bus.decode() if isinstance(bus, bytes) else str(bus)


def _ask(call: Callable[..., Any], *arguments: Any) -> Any | None:
    import pynvml

    try:
        answer = call(*arguments)
    except pynvml.NVMLError:  # not supported by this device
        return None
    return answer.decode() if isinstance(answer, bytes) else answer


async def by_tool() -> Sequence[Accelerator]:
    """All devices. Raises SourceFailed."""
    path = find_tool("nvidia-smi")
    devices = parse(await _query(path, FIELDS))
    for what in ("architecture", "compute_cap"):
        if all(device.architecture for device in devices.values()):
            break
        try:
            text = await _query(path, f"index,{what}")
        except SourceFailed:  # an older tool does not know the column
            continue
        devices = with_architectures(devices, text, by_capability=what == "compute_cap")
    return list(devices.values())


async def _query(path: str, fields: str) -> str:
    argv = [path, f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    return await output_of(argv, limit=LIMIT)


def parse(text: str) -> dict[str, Accelerator]:
    """Devices by index. Raises SourceFailed if a line is not as expected."""
    found: dict[str, Accelerator] = {}
    for row in _rows(text):
        if len(row) != COLUMNS:
            raise SourceFailed(f"nvidia-smi printed {len(row)} columns instead of {COLUMNS}")
        index, name, uuid, bus, mib, version, limit = row
        size = number(mib)
        found[index] = Accelerator(
            identity=pci_address(bus) or clean(uuid),
            vendor="NVIDIA",
            model=clean(name),
            memory_kind="dedicated",
            memory_bytes=None if size is None else positive(size * MIB),
            driver_name="NVIDIA" if clean(version) else None,
            driver_version=clean(version),
            power_limit=watts(limit),
        )
    return found


def with_architectures(
    devices: dict[str, Accelerator], text: str, *, by_capability: bool
) -> dict[str, Accelerator]:
    """Fill architectures from `index,architecture` or `index,compute_cap` lines."""
    told = {row[0]: row[1] for row in _rows(text) if len(row) == 2}
    filled = {}
    for index, device in devices.items():
        name = told.get(index, "")
        known = architecture_by_capability(name) if by_capability else clean(name)
        filled[index] = evolve(device, architecture=device.architecture or known)
    return filled


def _rows(text: str) -> list[list[str]]:
    rows = csv.reader(io.StringIO(text), skipinitialspace=True)
    return [[cell.strip() for cell in row] for row in rows if any(cell.strip() for cell in row)]
