"""The program as a service: what systemd hears, and whether the unit file is a good one."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.integration.processes import fake_command, free_ports, settled
from tests.integration.program import started, write

UNIT = Path(__file__).parents[2] / "packaging" / "systemd" / "llamaswap.service"
PROGRAM = "/opt/llamaswap/bin/llamaswap"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        yield sock


async def test_systemd_hears_readiness_life_reload_and_the_end(
    manager: socket.socket, tmp_path: Path
) -> None:
    model = f"models:\n  m:\n    cmd: {fake_command()} --port ${{PORT}}\n"
    config = write(tmp_path / "c.yaml", f"startPort: {free_ports()}\n{model}")
    heard: list[str] = []

    def hears(text: str, times: int = 1) -> bool:
        try:
            while True:
                heard.append(manager.recv(4096).decode())
        except BlockingIOError:
            return sum(text in message for message in heard) >= times

    env = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "400000"}
    async with started("-config", config, env=env) as program:
        await settled(lambda: hears(f"READY=1\nSTATUS=0 of 1 models ready\nMAINPID={program.pid}"))
        await settled(lambda: hears("WATCHDOG=1", 3))
        assert (await program.chat("m")).status_code == 200
        await settled(lambda: hears("STATUS=1 of 1 models ready"))
        [pid] = program.model_pids()
        assert not set(env) & set(psutil.Process(pid).environ())
        program.process.send_signal(signal.SIGHUP)
        await settled(lambda: "configuration reloaded" in program.log())
        assert await program.stop() == 0
        assert hears("STOPPING=1")
    assert heard.index(next(m for m in heard if "READY=1" in m)) <= heard.index("WATCHDOG=1")


def settings(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


def test_the_unit_says_what_the_program_does() -> None:
    assert settings("Type") == ["notify"]
    assert settings("KillMode") == ["mixed"]
    assert int(settings("TimeoutStopSec")[0]) > 35  # the program's own hard limit
    assert float(settings("WatchdogSec")[0]) > 0
    check, hup = settings("ExecReload")
    assert check.endswith("-check-config")
    assert hup == "/bin/kill -HUP $MAINPID"
    assert settings("OOMPolicy") == ["continue"]


def test_the_unit_leaves_gpus_reachable() -> None:
    for hidden in ("PrivateDevices", "ProtectClock", "MemoryDenyWriteExecute", "PrivateUsers"):
        assert settings(hidden) == []
    assert "AF_NETLINK" in settings("RestrictAddressFamilies")[0]
    assert settings("SupplementaryGroups") == ["render video"]


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit as it would be installed, with a program that is there."""
    here = tmp_path / "llamaswap.service"
    here.write_text(UNIT.read_text().replace(PROGRAM, "/bin/true"))
    return here


needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


@needs_systemd
def test_systemd_accepts_the_unit(unit: Path) -> None:
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
def test_systemd_finds_the_exposure_of_the_unit_small(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", unit],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    match = re.search(r"Overall exposure level for \S+: (\d+\.\d)", done.stdout)
    assert match, done.stdout + done.stderr
    assert float(match[1]) <= 3.0
