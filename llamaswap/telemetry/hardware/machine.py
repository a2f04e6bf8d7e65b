"""Processor, memory, operating system and environment. Blocks: call it in a worker thread.

`root` is where /proc, /sys and /etc hang; tests hang others there. Source: telemetry §4.3.
"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from llamaswap.telemetry.hardware.report import Machine, clean, positive

CONTAINERS = ("docker", "lxc", "rkt", "podman", "containerd", "systemd-nspawn")
GUESTS = {
    "kvm": "kvm",
    "qemu": "kvm",
    "vmware": "vmware",
    "innotek": "virtualbox",
    "virtualbox": "virtualbox",
    "xen": "xen",
    "parallels": "parallels",
    "bochs": "bochs",
    "amazon ec2": "amazon",
    "google compute engine": "google",
}
"""What firmware of virtual machines calls itself, and the machine's kind."""
NAMES = {
    "docker": "Docker",
    "kvm": "KVM",
    "vmware": "VMware",
    "virtualbox": "VirtualBox",
    "vbox": "VirtualBox",
    "oracle": "VirtualBox",
    "hyperv": "Hyper-V",
    "microsoft": "Hyper-V",
    "lxc": "LXC",
}


@frozen
class Environment:
    """Where the program runs."""

    kind: str
    name: str | None = None


UNKNOWN = Environment("unknown")


def describe(
    root: Path = Path("/"), environment: Environment = UNKNOWN, system: str = sys.platform
) -> Machine:
    """Everything but the accelerators; what cannot be read is None."""
    architecture, raw = architecture_of(platform.machine())
    family, raw_family = family_of(system)
    os_name, os_version = system_name(root, system)
    vendor, model = processor(root, system)
    threads = _count(logical=True)
    cores = _count(logical=False)
    if cores is not None and threads is not None and cores > threads:
        cores = None  # a container's share of the threads, the machine's cores
    return Machine(
        architecture=architecture,
        raw_architecture=raw,
        family=family,
        raw_family=raw_family,
        os_name=os_name,
        os_version=os_version,
        kernel=clean(platform.release()),
        environment=environment.kind,
        environment_name=environment.name,
        cpu_vendor=vendor,
        cpu_model=model,
        sockets=sockets(root, system),
        cores=cores,
        threads=threads,
        memory_bytes=memory_capacity(root, system),
    )


def architecture_of(machine: str) -> tuple[str, str | None]:
    """The architecture's name, and what the system calls it where that differs."""
    name = machine.lower()
    match name:
        case "x86_64" | "amd64":
            known = "x86_64"
        case "arm64" | "aarch64":
            known = "arm64"
        case "arm" | "armv7" | "armv7l":
            known = "armv7"
        case "ppc64le" | "riscv64" | "s390x":
            known = name
        case _:
            return "other", machine or "?"
    return known, None if name == known else machine


def family_of(name: str) -> tuple[str, str | None]:
    """The family of operating system, and its raw name if it is no known one."""
    if name.startswith("linux"):
        return "linux", None
    if name == "darwin":
        return "macos", None
    if name in ("win32", "cygwin"):
        return "windows", None
    return ("freebsd", None) if name.startswith("freebsd") else ("other", name)


def system_name(root: Path, system: str) -> tuple[str | None, str | None]:
    """Name and version of the system, for people."""
    if system == "darwin":
        return "macOS", clean(platform.mac_ver()[0])
    if system == "win32":
        return "Windows", clean(platform.version())
    for place in ("etc/os-release", "usr/lib/os-release"):
        fields = _fields(root / place, "=")
        if fields:
            return clean(fields.get("ID")), clean(fields.get("VERSION_ID"))
    return None, None


def processor(root: Path, system: str) -> tuple[str | None, str | None]:
    """Vendor and model of the processor."""
    if system.startswith("linux"):
        fields = _fields(root / "proc/cpuinfo", ":")
        model = fields.get("model name") or fields.get("Model") or fields.get("cpu")
        return clean(fields.get("vendor_id")), clean(model)
    return None, clean(platform.processor())


def sockets(root: Path, system: str) -> int | None:
    """How many processors there are."""
    if system.startswith("linux"):
        ids = re.findall(
            r"^physical id\s*:\s*(\S+)", read_text(root / "proc/cpuinfo"), re.MULTILINE
        )
        return positive(len(set(ids)))
    return 1 if system == "darwin" else None


def _count(*, logical: bool) -> int | None:
    import psutil

    return positive(psutil.cpu_count(logical=logical) or 0)


# --- memory ---------------------------------------------------------------------------------------


def memory_capacity(root: Path, system: str) -> int:
    """Bytes of memory this process may use; 0: that cannot be read."""
    import psutil

    if not system.startswith("linux"):
        return int(psutil.virtual_memory().total)
    total = max(
        _memory_total(root),
        zoneinfo_capacity(read_text(root / "proc/zoneinfo"), _page_size()),
    )
    limits = (
        positive(read_text(root / place).strip())
        for place in (
            "sys/fs/cgroup/memory.max",
            "sys/fs/cgroup/memory/memory.limit_in_bytes",
        )
    )
    return min([total, *(limit for limit in limits if limit is not None)])


def _memory_total(root: Path) -> int:
    match = re.search(r"^MemTotal:\s+(\d+) kB", read_text(root / "proc/meminfo"), re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


def zoneinfo_capacity(text: str, page_size: int) -> int:
    """Bytes of all zones but `Device`, which is memory of something else."""
    pages = 0
    zone = ""
    for line in text.splitlines():
        if match := re.match(r"Node\s+\d+,\s+zone\s+(\S+)", line):
            zone = match[1]
        elif (match := re.match(r"\s+present\s+(\d+)", line)) and zone != "Device":
            pages += int(match[1])
    return pages * page_size


def _page_size() -> int:
    import resource

    return resource.getpagesize()


# --- environment ----------------------------------------------------------------------------------


def environment_by_files(root: Path = Path("/"), kernel: str = "") -> Environment | None:
    """What files tell about the environment; None: ask other tools."""
    release = (kernel or platform.release()).lower()
    if "microsoft" in release or "wsl" in release:
        return Environment("wsl", "WSL")
    if (container := _container(root)) is not None:
        return named(container)
    firmware = " ".join(
        read_text(root / "sys/class/dmi/id" / name).strip().lower()
        for name in ("sys_vendor", "product_name")
    )
    if "microsoft" in firmware and "virtual machine" in firmware:
        return named("hyperv")
    for words, guest in GUESTS.items():
        if words in firmware:
            return named(guest)
    if (hypervisor := read_text(root / "sys/hypervisor/type").strip()) and hypervisor != "none":
        return named(hypervisor)
    if re.search(r"^kvm(_intel|_amd)? ", read_text(root / "proc/modules"), re.MULTILINE):
        return Environment("native")  # it could run guests, so it most likely is none
    return None


def _container(root: Path) -> str | None:
    """Which kind of container this is, if it is one."""
    if (root / ".dockerenv").exists():
        return "docker"
    if (root / "run/.containerenv").exists():
        return "podman"
    told = read_text(root / "run/systemd/container").strip()
    for variable in read_text(root / "proc/1/environ").split("\0"):
        told = told or variable.removeprefix("container=") if "container=" in variable else told
    groups = read_text(root / "proc/1/cgroup")
    if not told:
        told = next((name for name in CONTAINERS if f"/{name}" in groups), "")
    return told or None


def named(written: str) -> Environment:
    """The environment that a tool or file calls `written`."""
    name = written.strip().lower()
    kind = "container" if name in CONTAINERS else "virtual_machine"
    return Environment(kind, NAMES.get(name, written.strip()))


def _fields(path: Path, separator: str) -> Mapping[str, str]:
    """`key separator value` lines; the first of each key."""
    found: dict[str, str] = {}
    for line in read_text(path).splitlines():
        key, there, value = line.partition(separator)
        if there:
            found.setdefault(key.strip(), value.strip().strip('"'))
    return found


def read_text(path: Path) -> str:
    """The content of a file of the kernel's; empty if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
