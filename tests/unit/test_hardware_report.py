"""Cases T76-T82 of telemetry §9: the report's rules, and what files and tools say, read."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from attrs import evolve

from llamaswap.telemetry.gpu.source import SourceFailed
from llamaswap.telemetry.hardware import linux_devices, machine, macos_devices, nvidia
from llamaswap.telemetry.hardware.report import (
    Accelerator,
    Machine,
    ReportInvalid,
    check,
    clean,
    document,
    merged,
    pci_address,
    positive,
    watts,
)
from tests.unit.fake_nvml import Card, FakeNvml, install

SANE = Machine(
    architecture="x86_64",
    raw_architecture="amd64",
    family="linux",
    cores=8,
    threads=16,
    sockets=1,
    memory_bytes=64 << 30,
)
L40S = Accelerator(
    identity="0000:41:00.0", vendor="NVIDIA", model="NVIDIA L40S", memory_kind="dedicated"
)


def put(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


# --- the report -----------------------------------------------------------------------------------


def test_the_report_has_every_key_of_its_schema() -> None:
    card = evolve(
        L40S,
        architecture="Ada Lovelace",
        memory_bytes=48305799168,
        driver_name="NVIDIA",
        driver_version="570.124.06",
        power_limit=350.0,
    )
    at = datetime(2026, 8, 7, 7, 5, 1, 500_000, UTC)
    report = document(SANE, [card], at=at, version="0.1.0")
    assert report == {
        "schema_version": 1,
        "captured_at": "2026-08-07T07:05:01.500000Z",
        "capture": {
            "scope": "inference_host",
            "method": "detected",
            "detector": {"name": "llamaswap", "version": "0.1.0"},
        },
        "architecture": {"name": "x86_64", "raw_name": "amd64"},
        "operating_system": {"family": "linux", "name": None, "version": None, "kernel": None},
        "environment": {"kind": "unknown", "name": None, "version": None},
        "cpu": {
            "vendor": None,
            "model": None,
            "socket_count": 1,
            "physical_core_count": 8,
            "logical_thread_count": 16,
        },
        "memory": {"capacity_bytes": 64 << 30},
        "accelerators": [
            {
                "index": 0,
                "kind": "gpu",
                "vendor": "NVIDIA",
                "model": "NVIDIA L40S",
                "architecture": "Ada Lovelace",
                "memory": {"kind": "dedicated", "capacity_bytes": 48305799168},
                "driver": {"name": "NVIDIA", "version": "570.124.06"},
                "power_limit_watts": 350.0,
            }
        ],
    }


def test_what_is_unknown_is_null_and_a_driver_of_nothing_too() -> None:
    [device] = document(SANE, [Accelerator()])["accelerators"]
    assert device["memory"] == {"kind": "unknown", "capacity_bytes": None}
    assert (device["driver"], device["vendor"], device["power_limit_watts"]) == (None, None, None)
    assert document(SANE, [])["accelerators"] == []


def test_an_unknown_family_says_what_it_is() -> None:
    other = document(evolve(SANE, family="other", raw_family="sunos5"), [])
    assert other["operating_system"]["raw_family"] == "sunos5"
    assert "raw_family" not in document(SANE, [])["operating_system"]


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (evolve(SANE, cores=16, threads=8), "16 cores but only 8 threads"),
        (evolve(SANE, memory_bytes=0), "size of memory"),
        (evolve(SANE, sockets=0), "socket_count is 0"),
        (evolve(SANE, architecture="vax"), "architecture.name is 'vax'"),
        (evolve(SANE, architecture="other", raw_architecture=""), "without saying what"),
        (evolve(SANE, family="other"), "without saying what"),
        (evolve(SANE, environment="cloud"), "environment.kind"),
    ],
)
def test_a_report_that_contradicts_itself_is_none(broken: Machine, words: str) -> None:
    with pytest.raises(ReportInvalid, match=words):
        document(broken, [])


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (evolve(L40S, kind="tpu"), "kind is 'tpu'"),
        (evolve(L40S, memory_kind="borrowed"), "memory.kind"),
        (evolve(L40S, memory_bytes=-1), "capacity_bytes is -1"),
        (evolve(L40S, power_limit=float("inf")), "power_limit_watts"),
    ],
)
def test_an_impossible_device_makes_it_invalid(broken: Accelerator, words: str) -> None:
    with pytest.raises(ReportInvalid, match=words):
        document(SANE, [broken])


def test_a_detector_without_a_version_is_invalid() -> None:
    with pytest.raises(ReportInvalid, match="detector"):
        document(SANE, [], version="")


def test_an_other_kind_of_device_says_what_it_is() -> None:
    report = document(SANE, [L40S])
    report["accelerators"][0] |= {"kind": "other", "raw_kind": "fpga"}
    check(report)
    del report["accelerators"][0]["raw_kind"]
    with pytest.raises(ReportInvalid, match="without saying what"):
        check(report)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (" 24.04 ", "24.04"),
        ("N/A", None),
        ("[N/A]", None),
        ("[Not Supported]", None),
        ("[Unknown Error]", None),
        ("Unknown", None),
        ("", None),
        (None, None),
        (5, None),
    ],
)
def test_what_tools_say_for_nothing_is_nothing(text: object, kept: str | None) -> None:
    assert clean(text) == kept


@pytest.mark.parametrize(
    ("value", "count", "power"),
    [("12", 12, 12.0), (0, None, None), ("x", None, None), (None, None, None), (-3, None, None)],
)
def test_counts_and_powers_are_positive(
    value: object, count: int | None, power: float | None
) -> None:
    assert (positive(value), watts(value)) == (count, power)


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("00000000:01:00.0", "0000:01:00.0"),
        ("01:00.0", "0000:01:00.0"),
        ("0000:C1:00.1", "0000:c1:00.1"),
        ("0001:0A:1f.7", "0001:0a:1f.7"),
        ("GPU-5f0c", None),
        ("", None),
        (None, None),
    ],
)
def test_a_pci_address_is_written_one_way(written: str | None, address: str | None) -> None:
    assert pci_address(written) == address


# --- merging --------------------------------------------------------------------------------------


def test_two_probes_of_one_device_are_one_entry_and_its_address_stays_inside() -> None:
    by_driver = Accelerator(
        identity="0000:41:00.0",
        vendor="somebody else",
        memory_kind="shared_system",
        memory_bytes=7,
        driver_name="nvidia",
        power_limit=300.0,
    )
    found = merged([[L40S], [by_driver], []])
    assert found == [
        evolve(L40S, memory_bytes=7, driver_name="nvidia", power_limit=300.0),
    ]
    text = msgspec.json.encode(document(SANE, found)).decode()
    assert "41:00" not in text
    assert "somebody else" not in text


def test_two_vendors_are_two_entries_by_address_with_all_that_is_known() -> None:
    by_tool = Accelerator(
        identity="0000:65:00.0", vendor="AMD", model="Radeon 8060S", memory_kind="unified"
    )
    by_kfd = Accelerator(identity="0000:65:00.0", vendor="AMD", architecture="gfx1151")
    by_drm = Accelerator(
        identity="0000:65:00.0", vendor="AMD", memory_kind="dedicated", memory_bytes=512 << 20
    )
    devices = document(SANE, merged([[L40S], [by_tool], [by_kfd], [by_drm]]))["accelerators"]
    assert [(d["index"], d["vendor"]) for d in devices] == [(0, "NVIDIA"), (1, "AMD")]
    assert devices[1]["architecture"] == "gfx1151"
    assert devices[1]["memory"] == {"kind": "unified", "capacity_bytes": 512 << 20}


def test_an_unknown_kind_of_memory_is_a_gap_and_nameless_devices_never_merge() -> None:
    kfd = Accelerator(identity="x", architecture="gfx90a")
    drm = Accelerator(identity="x", memory_kind="dedicated")
    assert merged([[kfd], [drm]]) == [evolve(kfd, memory_kind="dedicated")]
    nameless = Accelerator(model="b"), Accelerator(model="a"), Accelerator(model="a")
    assert [device.model for device in merged([nameless])] == ["a", "a", "b"]


# --- the machine ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("amd64", ("x86_64", "amd64")),
        ("x86_64", ("x86_64", None)),
        ("aarch64", ("arm64", "aarch64")),
        ("arm64", ("arm64", None)),
        ("arm", ("armv7", "arm")),
        ("armv7l", ("armv7", "armv7l")),
        ("riscv64", ("riscv64", None)),
        ("mips64", ("other", "mips64")),
        ("", ("other", "?")),
    ],
)
def test_architectures_have_one_name(raw: str, name: tuple[str, str | None]) -> None:
    assert machine.architecture_of(raw) == name


@pytest.mark.parametrize(
    ("raw", "family"),
    [
        ("linux", ("linux", None)),
        ("darwin", ("macos", None)),
        ("win32", ("windows", None)),
        ("freebsd14", ("freebsd", None)),
        ("sunos5", ("other", "sunos5")),
    ],
)
def test_families_of_systems(raw: str, family: tuple[str, str | None]) -> None:
    assert machine.family_of(raw) == family


MEMINFO = "MemTotal:        8388608 kB\nMemFree: 1 kB\n"


@pytest.mark.parametrize(
    ("limits", "capacity"),
    [
        ({"sys/fs/cgroup/memory.max": "max\n"}, 8 << 30),
        ({"sys/fs/cgroup/memory.max": "2147483648\n"}, 2 << 30),
        ({"sys/fs/cgroup/memory/memory.limit_in_bytes": "1073741824\n"}, 1 << 30),
        ({"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 8 << 30),
        ({"sys/fs/cgroup/memory.max": "0\n"}, 8 << 30),
        ({}, 8 << 30),
    ],
)
def test_memory_is_what_the_container_may_use(
    tmp_path: Path, limits: dict[str, str], capacity: int
) -> None:
    put(tmp_path, {"proc/meminfo": MEMINFO, **limits})
    assert machine.memory_capacity(tmp_path, "linux") == capacity


ZONEINFO = """Node 0, zone      DMA
  per-node stats
      nr_inactive_anon 1
        spanned  4095
        present  1024
        managed  900
Node 0, zone   Normal
        present  3072
Node 1, zone   Device
        present  1048576
"""


def test_memory_of_devices_is_none_of_ours(tmp_path: Path) -> None:
    assert machine.zoneinfo_capacity(ZONEINFO, 4096) == 4096 * 4096
    put(tmp_path, {"proc/meminfo": "MemTotal: 1024 kB\n", "proc/zoneinfo": ZONEINFO})
    assert machine.memory_capacity(tmp_path, "linux") == 4096 * os.sysconf("SC_PAGE_SIZE")


def test_a_machine_without_files_has_no_memory_and_that_is_invalid(tmp_path: Path) -> None:
    described = machine.describe(tmp_path, machine.UNKNOWN, "linux")
    assert described.cpu_model is None
    with pytest.raises(ReportInvalid, match="memory"):
        document(described, [])


CPUINFO = """processor\t: 0
vendor_id\t: AuthenticAMD
model name\t: AMD EPYC 9354 32-Core Processor
physical id\t: 0
processor\t: 1
vendor_id\t: AuthenticAMD
model name\t: AMD EPYC 9354 32-Core Processor
physical id\t: 1
"""


def test_a_linux_machine(tmp_path: Path) -> None:
    put(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/cpuinfo": CPUINFO,
            "etc/os-release": 'NAME="Ubuntu"\nID=ubuntu\nVERSION_ID="24.04"\n',
        },
    )
    described = machine.describe(tmp_path, machine.Environment("native"), "linux")
    assert (described.os_name, described.os_version) == ("ubuntu", "24.04")
    assert described.cpu_vendor == "AuthenticAMD"
    assert described.cpu_model == "AMD EPYC 9354 32-Core Processor"
    assert (described.sockets, described.environment) == (2, "native")
    document(described, [])


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_other_systems_are_described_without_files(tmp_path: Path, system: str) -> None:
    described = machine.describe(tmp_path, machine.UNKNOWN, system)
    assert described.os_name == ("macOS" if system == "darwin" else "Windows")
    assert described.memory_bytes > 0
    document(described, [])


@pytest.mark.parametrize(
    ("files", "kernel", "kind", "name"),
    [
        ({}, "5.15.90.1-microsoft-standard-WSL2", "wsl", "WSL"),
        ({".dockerenv": ""}, "6.8.0", "container", "Docker"),
        ({"run/.containerenv": ""}, "6.8.0", "container", "podman"),
        ({"run/systemd/container": "systemd-nspawn\n"}, "6.8.0", "container", "systemd-nspawn"),
        ({"proc/1/environ": "A=1\0container=lxc\0B=2\0"}, "6.8.0", "container", "LXC"),
        ({"proc/1/cgroup": "0::/docker/abc\n"}, "6.8.0", "container", "Docker"),
        ({"sys/class/dmi/id/sys_vendor": "QEMU\n"}, "6.8.0", "virtual_machine", "KVM"),
        ({"sys/class/dmi/id/sys_vendor": "VMware, Inc."}, "6.8.0", "virtual_machine", "VMware"),
        (
            {"sys/class/dmi/id/product_name": "VirtualBox"},
            "6.8.0",
            "virtual_machine",
            "VirtualBox",
        ),
        (
            {
                "sys/class/dmi/id/sys_vendor": "Microsoft Corporation",
                "sys/class/dmi/id/product_name": "Virtual Machine",
            },
            "6.8.0",
            "virtual_machine",
            "Hyper-V",
        ),
        ({"sys/hypervisor/type": "xen\n"}, "6.8.0", "virtual_machine", "xen"),
        ({"proc/modules": "kvm_amd 1 0 - Live\n"}, "6.8.0", "native", None),
        (
            {"proc/modules": "kvm 1 0 - Live\n", "sys/class/dmi/id/sys_vendor": "QEMU"},
            "6.8.0",
            "virtual_machine",
            "KVM",
        ),
    ],
)
def test_environments_by_files(
    tmp_path: Path, files: dict[str, str], kernel: str, kind: str, name: str | None
) -> None:
    found = machine.environment_by_files(put(tmp_path, files), kernel)
    assert found == machine.Environment(kind, name)


def test_an_environment_no_file_tells_of(tmp_path: Path) -> None:
    assert machine.environment_by_files(tmp_path, "6.8.0") is None


@pytest.mark.parametrize(
    ("written", "environment"),
    [
        ("kvm\n", machine.Environment("virtual_machine", "KVM")),
        ("oracle", machine.Environment("virtual_machine", "VirtualBox")),
        ("microsoft", machine.Environment("virtual_machine", "Hyper-V")),
        ("docker", machine.Environment("container", "Docker")),
        ("bhyve", machine.Environment("virtual_machine", "bhyve")),
    ],
)
def test_environments_as_tools_call_them(written: str, environment: machine.Environment) -> None:
    assert machine.named(written) == environment


# --- devices --------------------------------------------------------------------------------------


def test_nvidias_devices_by_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeNvml(Card(), Card(uuid="GPU-2", bus="00000000:C1:00.0", architecture=99))
    install(monkeypatch, library)
    first, second = nvidia.by_nvml()
    assert first == Accelerator(
        identity="0000:41:00.0",
        vendor="NVIDIA",
        model="NVIDIA L40S",
        architecture="Ada Lovelace",
        memory_kind="dedicated",
        memory_bytes=46068 << 20,
        driver_name="NVIDIA",
        driver_version="570.124.06",
        power_limit=350.0,
    )
    assert (second.identity, second.architecture) == ("0000:c1:00.0", None)
    assert library.loaded == 0


def test_a_device_that_tells_little(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    unsupported = ("MemoryInfo", "PowerManagementLimit", "Architecture", "PciInfo_v3")
    errors = {f"nvmlDeviceGet{name}": pynvml.NVML_ERROR_NOT_SUPPORTED for name in unsupported}
    install(monkeypatch, FakeNvml(Card(errors=errors)))
    [device] = nvidia.by_nvml()
    assert device == Accelerator(
        vendor="NVIDIA",
        model="NVIDIA L40S",
        memory_kind="dedicated",
        driver_name="NVIDIA",
        driver_version="570.124.06",
    )


def test_nvidias_devices_by_the_tool() -> None:
    text = (
        "0, NVIDIA L40S, GPU-1, 00000000:41:00.0, 46068, 570.124.06, 350.00\n\n"
        "1, NVIDIA GB10, GPU-2, 0000000F:01:00.0, [N/A], 570.124.06, [Not Supported]\n"
        "2, Tesla K80, GPU-3, [N/A], 11441, [N/A], 149.00\n"
    )
    found = nvidia.parse(text)
    found = nvidia.with_architectures(found, "0, Ada Lovelace\n1, [N/A]\n", by_capability=False)
    found = nvidia.with_architectures(found, "0, 1.0\n1, 12.1\n2, 3.7\n", by_capability=True)
    told = [
        (d.identity, d.architecture, d.memory_bytes, d.driver_version, d.power_limit)
        for d in found.values()
    ]
    assert told == [
        ("0000:41:00.0", "Ada Lovelace", 46068 << 20, "570.124.06", 350.0),
        ("000f:01:00.0", "Blackwell", None, "570.124.06", None),
        ("GPU-3", "Kepler", 11441 << 20, None, 149.0),
    ]


def test_a_tool_with_other_columns_is_not_believed() -> None:
    with pytest.raises(SourceFailed, match="6 columns instead of 7"):
        nvidia.parse("0, NVIDIA L40S, GPU-1, 00000000:41:00.0, 46068, 570\n")


@pytest.mark.parametrize(
    ("capability", "name"),
    [
        ("2.1", "Fermi"),
        ("3.5", "Kepler"),
        ("5.2", "Maxwell"),
        ("6.1", "Pascal"),
        ("7.0", "Volta"),
        ("7.5", "Turing"),
        ("8.6", "Ampere"),
        ("8.9", "Ada Lovelace"),
        ("9.0", "Hopper"),
        ("12.0", "Blackwell"),
        ("7.1", None),
        ("[N/A]", None),
    ],
)
def test_architectures_by_compute_capability(capability: str, name: str | None) -> None:
    assert nvidia.architecture_by_capability(capability) == name


ROCM = """device,Device Name,GUID,VRAM Total Memory (B),Card Series,GFX Version,Driver version,\
PCI Bus,Max Graphics Package Power (W)
card0,AMD Radeon,abc,25769803776,Radeon RX 7900 XTX,gfx1100,6.12.12,0000:03:00.0,339
card1,Instinct,def,0,N/A,N/A,N/A,N/A,N/A
card2,short
"""


def test_amds_devices_by_the_tool() -> None:
    first, second = linux_devices.parse_rocm(ROCM)
    assert first == Accelerator(
        identity="0000:03:00.0",
        vendor="AMD",
        model="Radeon RX 7900 XTX",
        architecture="gfx1100",
        memory_kind="dedicated",
        memory_bytes=25769803776,
        driver_name="amdgpu",
        driver_version="6.12.12",
        power_limit=339.0,
    )
    assert (second.identity, second.model, second.driver_name) == ("def", "Instinct", None)
    assert linux_devices.parse_rocm(ROCM.replace("Card Series", "card series"))[0] == first


@pytest.mark.parametrize(
    ("version", "name"),
    [
        (0, None),
        (9999, None),
        (90010, "gfx90a"),
        (110000, "gfx1100"),
        (110501, "gfx1151"),
        (111000, None),
        (90016, None),
    ],
)
def test_compilers_names_of_amds_architectures(version: int, name: str | None) -> None:
    assert linux_devices.gfx_name(version) == name


def card(root: Path, number: int, address: str, **files: str) -> Path:
    """A graphics card in /sys as the kernel hangs it there."""
    device = root / "sys/devices" / address
    put(device, {name.replace("__", "/"): text for name, text in files.items()})
    (device / f"drm/renderD{128 + number}").mkdir(parents=True)
    for link in (f"card{number}", f"renderD{128 + number}"):
        folder = root / "sys/class/drm" / link
        folder.mkdir(parents=True)
        (folder / "device").symlink_to(device)
    put(root, {f"dev/dri/renderD{128 + number}": ""})
    return device


def test_cards_by_the_kernels_files(tmp_path: Path) -> None:
    device = card(
        tmp_path,
        0,
        "0000:65:00.0",
        vendor="0x1002\n",
        mem_info_vram_total="536870912\n",
        product_name="Radeon 8060S\n",
        hwmon__hwmon3__power1_cap="120000000\n",
    )
    put(tmp_path, {"sys/module/amdgpu/version": "6.12.12\n", "sys/bus/amdgpu/bind": ""})
    (device / "driver").symlink_to(tmp_path / "sys/bus/amdgpu")
    card(tmp_path, 1, "0000:00:02.0", vendor="0x8086\n")
    card(tmp_path, 2, "0000:07:00.0", vendor="0x1a03\n")  # a server's own screen: nobody's
    hidden = card(tmp_path, 3, "0000:08:00.0", vendor="0x1002\n")
    (tmp_path / "dev/dri/renderD131").unlink()  # not given to this container
    (tmp_path / "sys/class/drm/card0-DP-1").mkdir()
    amd, intel = linux_devices.by_drm(tmp_path)
    assert amd == Accelerator(
        identity="0000:65:00.0",
        vendor="AMD",
        model="Radeon 8060S",
        memory_kind="dedicated",
        memory_bytes=536870912,
        driver_name="amdgpu",
        driver_version="6.12.12",
        power_limit=120.0,
    )
    assert intel == Accelerator(
        identity="0000:00:02.0", vendor="Intel", memory_kind="shared_system"
    )
    assert hidden.exists()


def test_amds_architectures_by_the_compute_driver(tmp_path: Path) -> None:
    card(tmp_path, 0, "0000:65:00.0", vendor="0x1002\n")
    card(tmp_path, 1, "0000:66:00.0", vendor="0x10de\n")
    nodes = "sys/class/kfd/kfd/topology/nodes"
    put(
        tmp_path,
        {
            f"{nodes}/0/properties": "cpu_cores_count 32\ngfx_target_version 0\n",
            f"{nodes}/1/properties": "gfx_target_version 110501\ndrm_render_minor 128\n",
            f"{nodes}/2/properties": "gfx_target_version 90010\ndrm_render_minor 0\n",
            f"{nodes}/3/properties": "gfx_target_version 90010\ndrm_render_minor 129\n",
            f"{nodes}/4/properties": "gfx_target_version 90010\ndrm_render_minor 140\n",
        },
    )
    assert linux_devices.by_kfd(tmp_path) == [
        Accelerator(identity="0000:65:00.0", vendor="AMD", architecture="gfx1151")
    ]


def test_a_mac_with_a_chip_of_apples_own() -> None:
    profile: dict[str, Any] = {
        "SPHardwareDataType": [{"chip_type": "Apple M4 Max"}],
        "SPDisplaysDataType": [
            {
                "_name": "Apple M4 Max",
                "spdisplays_vendor": "sppci_vendor_Apple",
                "spdisplays_mtlgpufamilysupport": "spdisplays_metal4",
            }
        ],
    }
    mac, [device] = macos_devices.parse(msgspec.json.encode(profile).decode(), SANE)
    assert (mac.cpu_vendor, mac.cpu_model) == ("Apple", "Apple M4 Max")
    assert device == Accelerator(
        vendor="Apple",
        model="Apple M4 Max",
        architecture="Apple M4",
        memory_kind="unified",
        memory_bytes=SANE.memory_bytes,
        driver_name="Metal",
    )


def test_a_mac_with_cards_of_others() -> None:
    profile = {
        "SPDisplaysDataType": [
            {
                "sppci_model": "AMD Radeon Pro 5500M",
                "spdisplays_vendor": "sppci_vendor_amd",
                "spdisplays_vram": "8 GB",
            },
            {"sppci_model": "Intel UHD Graphics 630", "spdisplays_vram_shared": "1536 MB"},
            {"unrelated": 1},
        ]
    }
    mac, [amd, intel] = macos_devices.parse(msgspec.json.encode(profile).decode(), SANE)
    assert mac == SANE
    assert (amd.vendor, amd.memory_kind, amd.memory_bytes) == ("AMD", "dedicated", 8 << 30)
    assert (intel.vendor, intel.memory_kind) == ("Intel", "shared_system")
    assert intel.memory_bytes == 1536 << 20


@pytest.mark.parametrize("text", ["no json", "[]", "{}"])
def test_a_profiler_that_makes_no_sense(text: str) -> None:
    if text == "no json":
        with pytest.raises(SourceFailed, match="no JSON"):
            macos_devices.parse(text, SANE)
    else:
        assert macos_devices.parse(text, SANE) == (SANE, [])


@pytest.mark.parametrize(
    ("text", "size"),
    [("24 GB", 24 << 30), ("1,536 MB", 1536 << 20), ("8", 8 << 20), ("lots", None), ("0 GB", None)],
)
def test_sizes_as_the_profiler_writes_them(text: str, size: int | None) -> None:
    assert macos_devices.memory_text(text) == size
