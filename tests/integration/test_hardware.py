"""Case T83 of telemetry §9, and that taking the report delays nothing: real tools, scripted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import trio

from llamaswap.telemetry.hardware import detect as detection
from llamaswap.telemetry.hardware import once
from llamaswap.telemetry.hardware.detect import detect
from llamaswap.telemetry.hardware.machine import Environment
from llamaswap.telemetry.hardware.once import HardwareReport, HardwareUnknown
from tests.integration import scripted
from tests.integration.processes import settled
from tests.integration.program import started, write
from tests.unit.fake_nvml import Card, FakeNvml, install

SMI = """
asked = sys.argv[1].removeprefix("--query-gpu=")
assert sys.argv[2:] == ["--format=csv,noheader,nounits"]
print({
    "index,name,uuid,pci.bus_id,memory.total,driver_version,power.limit":
        "0, NVIDIA L40S, GPU-1, 00000000:41:00.0, 46068, 570.124.06, 350.00",
    "index,architecture": "0, [N/A]",
    "index,compute_cap": "0, 8.9",
}[asked])
"""


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    install(monkeypatch, None)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with memory and nothing else."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 8388608 kB\n")
    return tmp_path


async def test_a_machine_with_no_probe_available_has_no_accelerators(root: Path) -> None:
    report = await detect(root)
    assert report["accelerators"] == []
    assert report["memory"] == {"capacity_bytes": 8 << 30}
    assert report["environment"]["kind"] == "unknown"


async def test_nvidia_by_the_tool_where_there_is_no_library(root: Path, path: Path) -> None:
    scripted.tool(path, "nvidia-smi", SMI)
    [device] = (await detect(root))["accelerators"]
    assert device == {
        "index": 0,
        "kind": "gpu",
        "vendor": "NVIDIA",
        "model": "NVIDIA L40S",
        "architecture": "Ada Lovelace",
        "memory": {"kind": "dedicated", "capacity_bytes": 46068 << 20},
        "driver": {"name": "NVIDIA", "version": "570.124.06"},
        "power_limit_watts": 350.0,
    }


async def test_library_and_tools_of_two_vendors_side_by_side(
    root: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, FakeNvml(Card()))
    scripted.tool(
        path,
        "rocm-smi",
        "if '--showdriverversion' in sys.argv: sys.exit(2)\n"
        "print('device,Card Series,PCI Bus,VRAM Total Memory (B)')\n"
        "print('card0,Radeon RX 7900 XTX,0000:03:00.0,25769803776')",
    )
    devices = (await detect(root))["accelerators"]
    assert [(d["index"], d["vendor"]) for d in devices] == [(0, "AMD"), (1, "NVIDIA")]


@pytest.mark.parametrize(
    ("code", "environment"),
    [
        ("print('kvm')", Environment("virtual_machine", "KVM")),
        ("print('docker')", Environment("container", "Docker")),
        ("print('none'); sys.exit(1)", Environment("native")),
        ("sys.exit(127)", Environment("unknown")),
    ],
)
async def test_the_environment_by_systemds_tool(
    root: Path, path: Path, code: str, environment: Environment
) -> None:
    scripted.tool(path, "systemd-detect-virt", code)
    report = await detect(root)
    assert report["environment"] == {
        "kind": environment.kind,
        "name": environment.name,
        "version": None,
    }


@pytest.mark.parametrize(
    ("answer", "kind"), [("print(1)", "virtual_machine"), ("print(0)", "native"), (None, "unknown")]
)
async def test_a_mac(root: Path, path: Path, answer: str | None, kind: str) -> None:
    if answer is not None:
        scripted.tool(path, "sysctl", answer)
        scripted.tool(
            path,
            "system_profiler",
            "assert sys.argv[1:] == ['-json', 'SPHardwareDataType', 'SPDisplaysDataType']\n"
            'print(\'{"SPHardwareDataType":[{"chip_type":"Apple M4"}],'
            '"SPDisplaysDataType":[{"_name":"Apple M4"}]}\')',
        )
    report = await detect(root, "darwin")
    assert report["operating_system"]["family"] == "macos"
    assert report["environment"]["kind"] == kind
    expected: list[dict[str, Any]] = [] if answer is None else [{"vendor": "Apple"}]
    assert [{"vendor": d["vendor"]} for d in report["accelerators"]] == expected


async def test_a_probe_that_hangs_or_raises_costs_its_own_answer(
    root: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detection, "PROBE_LIMIT", 0.5)
    install(monkeypatch, FakeNvml(Card()))
    scripted.tool(path, "rocm-smi", "time.sleep(60)")

    def broken(root: Path) -> None:
        raise RuntimeError("kernel bug")

    monkeypatch.setattr("llamaswap.telemetry.hardware.linux_devices.by_drm", broken)
    [device] = (await detect(root))["accelerators"]
    assert device["vendor"] == "NVIDIA"


async def test_a_machine_that_makes_no_sense_is_said_and_answered_for_ever(
    tmp_path: Path, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    report = HardwareReport(tmp_path)  # no memory
    await report.run()
    for _ in range(2):
        with pytest.raises(HardwareUnknown, match=r"^hardware detection unavailable$"):
            await report.get()
    assert "size of memory" in caplog.text


async def test_whoever_asks_early_waits_and_the_budget_is_kept(
    root: Path, path: Path, monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    monkeypatch.setattr(once, "BUDGET", 0.3)
    scripted.tool(path, "systemd-detect-virt", "time.sleep(60)")
    report = HardwareReport(root)
    nursery.start_soon(report.run)
    with trio.fail_after(20), pytest.raises(HardwareUnknown):
        await report.get()


async def test_the_program_serves_while_the_report_is_taken(tmp_path: Path, path: Path) -> None:
    going, go = tmp_path / "going", tmp_path / "go"
    scripted.tool(
        path,
        "rocm-smi",
        f"open({str(going)!r}, 'w').close()\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(0.02)\nsys.exit(1)",
    )
    config = write(tmp_path / "c.yaml", "models: {}\nperformance: {disabled: true}\n")
    env = {"PATH": f"{path}:/usr/bin:/bin"}
    async with started("-config", config, env=env) as program:
        await settled(going.exists)
        assert (await program.http.get("/health")).status_code == 200  # a tool still hangs
        go.touch()
        report = (await program.http.get("/api/hardware")).json()
        assert report["schema_version"] == 1
        assert report["memory"]["capacity_bytes"] > 0
        assert report["cpu"]["logical_thread_count"] == os.cpu_count()
        assert (await program.http.get("/api/hardware")).json() == report
