"""Devices by what the Linux kernel's files tell, and AMD's by its tool. Source: telemetry §4.3."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from llamaswap.telemetry.gpu.source import SourceFailed
from llamaswap.telemetry.gpu.tool import find_tool, output_of
from llamaswap.telemetry.hardware.machine import read_text
from llamaswap.telemetry.hardware.report import Accelerator, clean, pci_address, positive, watts

LIMIT = 5.0
VENDORS = {
    "0x10de": "NVIDIA",
    "0x1002": "AMD",
    "0x1022": "AMD",
    "0x8086": "Intel",
    "0x106b": "Apple",
}
ROCM = ("-i", "--showmeminfo", "vram", "--showproductname")
ROCM_MORE = ("--showdriverversion", "--showmaxpower")


async def by_rocm_smi() -> Sequence[Accelerator]:
    """AMD's devices by `rocm-smi`. Raises SourceFailed."""
    path = find_tool("rocm-smi")
    tail = ("--showbus", "--csv")
    try:
        text = await output_of([path, *ROCM, *ROCM_MORE, *tail], limit=LIMIT)
    except SourceFailed:  # some versions fail for want of a driver version
        text = await output_of([path, *ROCM, *tail], limit=LIMIT)
    return parse_rocm(text)


def parse_rocm(text: str) -> Sequence[Accelerator]:
    """Devices from the tool's CSV; its column names vary in case."""
    header: list[str] = []
    found = []
    for row in csv.reader(text.splitlines(), skipinitialspace=True):
        cells = [cell.strip() for cell in row]
        if cells and cells[0].lower() == "device":
            header = [cell.lower() for cell in cells]
        elif header and len(cells) == len(header):
            found.append(_rocm_device(dict(zip(header, cells, strict=True))))
    return found


def _rocm_device(row: Mapping[str, str]) -> Accelerator:
    def first(*columns: str) -> str | None:
        return next((text for column in columns if (text := clean(row.get(column)))), None)

    version = first("driver version")
    return Accelerator(
        identity=pci_address(first("pci bus", "pci bus id", "bus")) or first("guid", "unique id"),
        vendor="AMD",
        model=first("card series", "device name", "card model"),
        architecture=first("gfx version"),
        memory_kind="dedicated",
        memory_bytes=positive(first("vram total memory (b)")),
        driver_name="amdgpu" if version else None,
        driver_version=version,
        power_limit=watts(
            first("max graphics package power (w)", "maximum graphics package power (w)")
        ),
    )


def by_kfd(root: Path) -> Sequence[Accelerator]:
    """What AMD's compute driver tells: the architecture of its devices."""
    nodes = root / "sys/class/kfd/kfd/topology/nodes"
    return [
        device
        for properties in sorted(nodes.glob("*/properties"))
        if (device := _kfd_device(root, read_text(properties))) is not None
    ]


def _kfd_device(root: Path, text: str) -> Accelerator | None:
    values = {name: int(value) for name, value in re.findall(r"^(\w+) (\d+)$", text, re.MULTILINE)}
    architecture = gfx_name(values.get("gfx_target_version", 0))
    node = f"renderD{values.get('drm_render_minor', 0)}"
    if architecture is None or not (root / "dev/dri" / node).exists():
        return None
    device = (root / "sys/class/drm" / node / "device").resolve()
    if VENDORS.get(read_text(device / "vendor").strip().lower()) != "AMD":
        return None
    identity = pci_address(device.name)
    if identity is None:
        return None
    return Accelerator(identity=identity, vendor="AMD", architecture=architecture)


def gfx_name(version: int) -> str | None:
    """Write `major * 10000 + minor * 100 + stepping` as compilers do: 90010 is gfx90a."""
    major, minor, stepping = version // 10000, version // 100 % 100, version % 100
    if major == 0 or minor > 9 or stepping > 15:
        return None
    return f"gfx{major}{minor}{stepping:x}"


def by_drm(root: Path) -> Sequence[Accelerator]:
    """What the graphics drivers tell of the cards this process may render on."""
    return [
        device
        for card in sorted((root / "sys/class/drm").glob("card*"))
        if re.fullmatch(r"card\d+", card.name)
        and (device := _drm_device(root, card / "device")) is not None
    ]


def _drm_device(root: Path, device: Path) -> Accelerator | None:
    vendor = VENDORS.get(read_text(device / "vendor").strip().lower())
    if vendor is None or not any(_render_nodes(root, device)):
        return None
    size = positive(read_text(device / "mem_info_vram_total").strip())
    driver = (device / "driver").resolve().name if (device / "driver").exists() else ""
    limits = (
        watts((positive(read_text(cap).strip()) or 0) / 1e6)
        for cap in sorted(device.glob("hwmon/hwmon*/power1_cap"))
    )
    return Accelerator(
        identity=pci_address(device.resolve().name),
        vendor=vendor,
        model=clean(read_text(device / "product_name")),
        memory_kind="dedicated" if size else "shared_system",
        memory_bytes=size,
        driver_name=clean(driver),
        driver_version=clean(read_text(root / "sys/module" / driver / "version"))
        if driver
        else None,
        power_limit=next((limit for limit in limits if limit is not None), None),
    )


def _render_nodes(root: Path, device: Path) -> Iterator[bool]:
    for node in device.glob("drm/renderD*"):
        if (root / "dev/dri" / node.name).exists():
            yield True
