"""Apple's machines by `system_profiler`. Source: telemetry §4.3."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from attrs import evolve

from llamaswap.telemetry.gpu.source import SourceFailed
from llamaswap.telemetry.gpu.tool import find_tool, output_of
from llamaswap.telemetry.hardware.machine import Environment
from llamaswap.telemetry.hardware.report import Accelerator, Machine, clean

LIMIT = 8.0
SECTIONS = ("SPHardwareDataType", "SPDisplaysDataType")
UNITS = {"kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "tb": 1 << 40}


async def by_profiler(machine: Machine) -> tuple[Machine, Sequence[Accelerator]]:
    """The machine with its chip's name, and its displays' devices. Raises SourceFailed."""
    argv = [find_tool("system_profiler"), "-json", *SECTIONS]
    return parse(await output_of(argv, limit=LIMIT), machine)


async def environment() -> Environment:
    """Whether this Mac is a guest."""
    try:
        text = await output_of([find_tool("sysctl"), "-n", "kern.hv_vmm_present"], limit=2.0)
    except SourceFailed:
        return Environment("unknown")
    kinds = {"1": "virtual_machine", "0": "native"}
    return Environment(kinds.get(text.strip(), "unknown"))


def parse(text: str, machine: Machine) -> tuple[Machine, Sequence[Accelerator]]:
    """Read the tool's JSON. Raises SourceFailed if it is none."""
    try:
        root = msgspec.json.decode(text)
    except msgspec.DecodeError as exc:
        raise SourceFailed(f"system_profiler prints no JSON: {exc}") from exc
    hardware = _sections(root, "SPHardwareDataType")
    chip = _first(hardware[0], "chip_type", "cpu_type") if hardware else None
    if chip is not None:
        vendor = "Apple" if chip.lower().startswith("apple ") else machine.cpu_vendor
        machine = evolve(machine, cpu_model=chip, cpu_vendor=vendor)
    displays = _sections(root, "SPDisplaysDataType")
    found = [_display(entry, machine.memory_bytes) for entry in displays]
    return machine, [device for device in found if device.model or device.vendor]


def _sections(root: Any, name: str) -> Sequence[Mapping[str, Any]]:
    entries = root.get(name) if isinstance(root, dict) else None
    return [e for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []


def _first(entry: Mapping[str, Any], *keys: str) -> str | None:
    return next((text for key in keys if (text := clean(entry.get(key)))), None)


def _display(entry: Mapping[str, Any], total: int) -> Accelerator:
    model = _first(entry, "sppci_model", "chipset_model", "_name")
    vendor = _vendor(_first(entry, "spdisplays_vendor", "vendor") or "", model or "")
    metal = _first(entry, "spdisplays_metal", "spdisplays_mtlgpufamilysupport")
    architecture = re.search(r"Apple M\d+", model or "")
    size: int | None = total
    kind = "unified"
    if vendor != "Apple":
        shared = (_first(entry, "spdisplays_vram_shared") or "").lower()
        kind = "shared_system" if shared and shared != "spdisplays_no" else "dedicated"
        size = memory_text(
            _first(entry, "spdisplays_vram", "_spdisplays_vram", "spdisplays_vram_shared") or ""
        )
    return Accelerator(
        vendor=vendor,
        model=model,
        architecture=architecture[0] if architecture else None,
        memory_kind=kind,
        memory_bytes=size,
        driver_name="Metal" if metal else None,
    )


def _vendor(raw: str, model: str) -> str | None:
    words = f"{raw} {model}".lower()
    for sign, vendor in (
        ("apple", "Apple"),
        ("nvidia", "NVIDIA"),
        ("amd", "AMD"),
        ("radeon", "AMD"),
        ("intel", "Intel"),
    ):
        if sign in words:
            return vendor
    return clean(raw.partition(" (")[0])


def memory_text(text: str) -> int | None:
    """Read a size like `24 GB`; None: it is none."""
    match = re.fullmatch(r"([\d.,]+)\s*([kmgt]b)?", text.strip().lower())
    if match is None:
        return None
    try:
        size = float(match[1].replace(",", "")) * UNITS[match[2] or "mb"]
    except ValueError:
        return None
    return int(size) or None
