"""The hardware report: its shape, what makes it invalid, and how probes of one device merge.

Source: telemetry §4.2, §4.3.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from attrs import evolve, field, frozen

from llamaswap.errors import LlamaswapError
from llamaswap.version import VERSION

SCHEMA_VERSION = 1
DETECTOR = "llamaswap"
NOTHING = {"", "n/a", "unknown", "[n/a]", "[not supported]", "[unknown error]", "none"}
ARCHITECTURES = ("x86_64", "arm64", "armv7", "ppc64le", "riscv64", "s390x", "other")
FAMILIES = ("linux", "macos", "windows", "freebsd", "other")
ENVIRONMENTS = ("native", "container", "virtual_machine", "wsl", "other", "unknown")
KINDS = ("gpu", "npu", "other")
MEMORY_KINDS = ("dedicated", "unified", "shared_system", "unknown")


class ReportInvalid(LlamaswapError):
    """What was found contradicts itself or lacks what every machine has."""


def clean(text: object) -> str | None:
    """Return a text without blanks around it; None for the ways tools say "I do not know"."""
    if not isinstance(text, str):
        return None
    stripped = text.strip()
    return None if stripped.lower() in NOTHING else stripped


def positive(value: object) -> int | None:
    """Return a count or size; None unless it is more than nothing."""
    try:
        count = int(value)  # type: ignore[call-overload]  # whatever is no number is caught
    except (TypeError, ValueError, OverflowError):
        return None
    return int(count) if count > 0 else None


def watts(value: object) -> float | None:
    """Return a power; None unless it is positive and finite."""
    try:
        figure = float(value)  # type: ignore[arg-type]  # whatever is no number is caught
    except (TypeError, ValueError):
        return None
    return figure if math.isfinite(figure) and figure > 0 else None


def pci_address(text: str | None) -> str | None:
    """Write a PCI address one way: `00000000:01:00.0` and `01:00.0` are `0000:01:00.0`."""
    match = re.fullmatch(
        r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])", (text or "").strip().lower()
    )
    if match is None:
        return None
    return f"{int(match[1] or '0', 16):04x}:{match[2]}:{match[3]}.{match[4]}"


@frozen(kw_only=True)
class Accelerator:
    """One device, as far as a probe, or several together, could tell."""

    identity: str | None = field(default=None, repr=False)
    """PCI address or the vendor's id: for merging, never shown."""
    kind: str = "gpu"
    vendor: str | None = None
    model: str | None = None
    architecture: str | None = None
    memory_kind: str = "unknown"
    memory_bytes: int | None = None
    driver_name: str | None = None
    driver_version: str | None = None
    power_limit: float | None = None

    def filled_from(self, other: Accelerator) -> Accelerator:
        """Fill what is unknown here with what `other` knows of the same device."""
        gaps = {
            name: getattr(other, name)
            for name in (
                *("vendor", "model", "architecture", "memory_bytes"),
                *("driver_name", "driver_version", "power_limit"),
            )
            if getattr(self, name) is None
        }
        if self.memory_kind == "unknown":
            gaps["memory_kind"] = other.memory_kind
        return evolve(self, **gaps)

    def document(self, index: int) -> dict[str, Any]:
        """The entry of `accelerators`."""
        driver = {"name": self.driver_name, "version": self.driver_version}
        return {
            "index": index,
            "kind": self.kind,
            "vendor": self.vendor,
            "model": self.model,
            "architecture": self.architecture,
            "memory": {"kind": self.memory_kind, "capacity_bytes": self.memory_bytes},
            "driver": driver if any(driver.values()) else None,
            "power_limit_watts": self.power_limit,
        }


def merged(probes: Iterable[Sequence[Accelerator]]) -> list[Accelerator]:
    """One entry per device out of all probes, the most authoritative first."""
    known: dict[str, Accelerator] = {}
    nameless: list[Accelerator] = []
    for found in probes:
        for device in found:
            if device.identity is None:
                nameless.append(device)
            elif device.identity in known:
                known[device.identity] = known[device.identity].filled_from(device)
            else:
                known[device.identity] = device
    return sorted(
        (*known.values(), *nameless), key=lambda device: (device.identity or "", device.model or "")
    )


@frozen(kw_only=True)
class Machine:
    """Everything but the accelerators."""

    architecture: str
    raw_architecture: str | None
    family: str
    raw_family: str | None = None
    os_name: str | None = None
    os_version: str | None = None
    kernel: str | None = None
    environment: str = "unknown"
    environment_name: str | None = None
    cpu_vendor: str | None = None
    cpu_model: str | None = None
    sockets: int | None = None
    cores: int | None = None
    threads: int | None = None
    memory_bytes: int = 0


def document(
    machine: Machine,
    accelerators: Sequence[Accelerator],
    *,
    at: datetime | None = None,
    version: str = VERSION,
) -> dict[str, Any]:
    """The whole report.

    Raises:
        ReportInvalid: it would break its own rules.
    """
    captured = (at or datetime.now(UTC)).astimezone(UTC)
    report: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "captured_at": captured.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "capture": {
            "scope": "inference_host",
            "method": "detected",
            "detector": {"name": DETECTOR, "version": version},
        },
        "architecture": {"name": machine.architecture, "raw_name": machine.raw_architecture},
        "operating_system": {
            "family": machine.family,
            "name": machine.os_name,
            "version": machine.os_version,
            "kernel": machine.kernel,
        },
        "environment": {
            "kind": machine.environment,
            "name": machine.environment_name,
            "version": None,
        },
        "cpu": {
            "vendor": machine.cpu_vendor,
            "model": machine.cpu_model,
            "socket_count": machine.sockets,
            "physical_core_count": machine.cores,
            "logical_thread_count": machine.threads,
        },
        "memory": {"capacity_bytes": machine.memory_bytes},
        "accelerators": [device.document(index) for index, device in enumerate(accelerators)],
    }
    if machine.raw_family is not None:
        report["operating_system"]["raw_family"] = machine.raw_family
    check(report)
    return report


def check(report: Mapping[str, Any]) -> None:
    """Raise ReportInvalid, naming the field, if the report breaks a rule of its schema."""
    capture, cpu = report["capture"], report["cpu"]
    if not capture["detector"]["name"] or not capture["detector"]["version"]:
        raise ReportInvalid("capture.detector has no version")
    architecture, system = report["architecture"], report["operating_system"]
    _one_of("architecture.name", architecture["name"], ARCHITECTURES, architecture["raw_name"])
    _one_of("operating_system.family", system["family"], FAMILIES, system.get("raw_family"))
    _one_of("environment.kind", report["environment"]["kind"], ENVIRONMENTS, None)
    for name in ("socket_count", "physical_core_count", "logical_thread_count"):
        if cpu[name] is not None and cpu[name] <= 0:
            raise ReportInvalid(f"cpu.{name} is {cpu[name]}, not positive")
    cores, threads = cpu["physical_core_count"], cpu["logical_thread_count"]
    if cores is not None and threads is not None and threads < cores:
        raise ReportInvalid(f"the processor has {cores} cores but only {threads} threads")
    if report["memory"]["capacity_bytes"] <= 0:
        raise ReportInvalid("memory.capacity_bytes: the size of memory cannot be read")
    for index, device in enumerate(report["accelerators"]):
        _check_device(f"accelerators[{index}]", device)


def _check_device(path: str, device: Mapping[str, Any]) -> None:
    _one_of(f"{path}.kind", device["kind"], KINDS, device.get("raw_kind"))
    _one_of(f"{path}.memory.kind", device["memory"]["kind"], MEMORY_KINDS, None)
    size = device["memory"]["capacity_bytes"]
    if size is not None and size <= 0:
        raise ReportInvalid(f"{path}.memory.capacity_bytes is {size}, not positive")
    limit = device["power_limit_watts"]
    if limit is not None and not (math.isfinite(limit) and limit > 0):
        raise ReportInvalid(f"{path}.power_limit_watts is {limit}, not positive")


def _one_of(path: str, value: str, choices: Sequence[str], raw: str | None) -> None:
    if value not in choices:
        raise ReportInvalid(f"{path} is '{value}', none of {', '.join(choices)}")
    if value == "other" and not raw:
        raise ReportInvalid(f"{path} is 'other' without saying what")
