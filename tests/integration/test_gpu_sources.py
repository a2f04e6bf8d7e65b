"""Cases T55, T59, T60, T62, T66 of telemetry §9: real sockets, real child processes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest
import trio

from llamaswap.config.schema import Performance
from llamaswap.telemetry.bus import EventBus
from llamaswap.telemetry.gpu import search, tool
from llamaswap.telemetry.gpu.lact import VARIABLE, Lact
from llamaswap.telemetry.gpu.macos import Ioreg, Mactop
from llamaswap.telemetry.gpu.nvidia_smi import NvidiaSmi
from llamaswap.telemetry.gpu.rocm_smi import RocmSmi
from llamaswap.telemetry.gpu.search import Plan, Search
from llamaswap.telemetry.gpu.source import Candidate, SourceFailed
from llamaswap.telemetry.sampler import Monitor
from llamaswap.telemetry.samples import GpuReading
from tests.integration import scripted
from tests.integration.processes import is_alive, settled
from tests.integration.scripted import STATS, lact_answers, lact_daemon
from tests.unit.test_gpu_figures import IOREG, MACTOP, NEW_ROCM


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it but what the test puts there, and no daemon of this machine."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv(VARIABLE, raising=False)
    return folder


async def read(candidate: Candidate, nursery: trio.Nursery) -> list[GpuReading]:
    with trio.fail_after(20):
        source = await candidate.open(5, nursery)
        try:
            return list(await source.read())
        finally:
            await source.aclose()


# --- LACT -----------------------------------------------------------------------------------------


async def test_lact_tells_all_devices(tmp_path: Path, nursery: trio.Nursery) -> None:
    socket = tmp_path / "lactd.sock"
    async with lact_daemon(socket, lact_answers(one=STATS)):
        [reading] = await read(Lact(tmp_path), nursery)
    assert reading == GpuReading(
        id=0,
        name="Card one",
        uuid="one",
        temp_c=51,
        vram_temp_c=58,
        gpu_util_pct=37.0,
        mem_used_mb=8192,
        mem_total_mb=46068,
        fan_speed_pct=40.0,
        power_draw_w=96.4,
    )


VIRTUAL = {"vram": {"total": 0}}


@pytest.mark.parametrize(
    ("devices", "ids"),
    [
        ({"a": STATS, "b": VIRTUAL}, [0]),
        ({"a": VIRTUAL, "b": STATS}, [1]),
        ({"a": RuntimeError("no such device"), "b": STATS}, [1]),
        ({"a": None, "b": STATS}, [1]),
    ],
)
async def test_devices_without_memory_or_figures_are_skipped(
    tmp_path: Path, nursery: trio.Nursery, devices: dict[str, object], ids: list[int]
) -> None:
    async with lact_daemon(tmp_path / "lactd.sock", lact_answers(**devices)):
        assert [reading.id for reading in await read(Lact(tmp_path), nursery)] == ids


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ({"status": "error", "data": "not allowed"}, "not allowed"),
        ({"status": "ok", "data": []}, "no devices"),
        ({"status": "ok", "data": None}, "no devices"),
        (b"no json\n", "no JSON"),
        (b"[]\n", "refuses"),
        (b'{"status":"ok"', "in the middle"),
        ({"status": "ok", "data": [{"id": 5}, "x"]}, "no device with memory"),
    ],
)
async def test_a_daemon_that_makes_no_sense_is_no_use(
    tmp_path: Path, nursery: trio.Nursery, reply: object, words: str
) -> None:
    async with lact_daemon(tmp_path / "lactd.sock", lambda request: reply):
        with pytest.raises(SourceFailed, match=words):
            await read(Lact(tmp_path), nursery)


async def test_a_daemon_that_hangs_is_given_up(
    tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llamaswap.telemetry.gpu.lact.EXCHANGE_LIMIT", 0.2)
    async with lact_daemon(tmp_path / "lactd.sock", lambda request: None):
        with pytest.raises(SourceFailed, match="did not answer"):
            await read(Lact(tmp_path), nursery)


async def test_the_variable_wins_unless_its_path_is_missing(
    tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "elsewhere.sock"))
    async with lact_daemon(tmp_path / "lactd.sock", lact_answers(usual=STATS)):
        assert [r.uuid for r in await read(Lact(tmp_path), nursery)] == ["usual"]
        async with lact_daemon(tmp_path / "elsewhere.sock", lact_answers(named=STATS)):
            assert [r.uuid for r in await read(Lact(tmp_path), nursery)] == ["named"]


async def test_the_users_own_socket_is_the_last_place(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    folder = tmp_path / "user" / str(os.getuid())
    folder.mkdir(parents=True)
    async with lact_daemon(folder / "lactd.sock", lact_answers(mine=STATS)):
        assert [r.uuid for r in await read(Lact(tmp_path), nursery)] == ["mine"]


async def test_a_daemon_that_is_restarted_works_again(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    socket = tmp_path / "lactd.sock"
    async with lact_daemon(socket, lact_answers(one=STATS)):
        source = await Lact(tmp_path).open(5, nursery)
        assert len(await source.read()) == 1
    with pytest.raises(SourceFailed, match="no LACT daemon"):
        await source.read()
    socket.touch()  # a leftover nobody listens on
    with pytest.raises(SourceFailed, match="does not accept"):
        await source.read()
    socket.unlink()
    async with lact_daemon(socket, lact_answers(two=STATS)):
        assert [reading.uuid for reading in await source.read()] == ["two"]


# --- tools ----------------------------------------------------------------------------------------

SMI_LOOP = """
assert sys.argv[1].startswith("--query-gpu=index,name,uuid,"), sys.argv
assert sys.argv[2:] == ["--format=csv,noheader,nounits", "--loop", "5"], sys.argv
round = 0
while True:
    for index in range(4):
        print(f"{index}, NVIDIA L40S, GPU-{index}, {round}, 37, 12288, 46068, [N/A], 181.42")
    print(flush=True)
    round += 1
    time.sleep(0.5)
"""


async def test_nvidia_smi_keeps_running_and_no_card_is_lost(
    path: Path, nursery: trio.Nursery
) -> None:
    scripted.tool(path, "nvidia-smi", SMI_LOOP)
    with trio.fail_after(20):
        source = await NvidiaSmi().open(5, nursery)
        rounds = [list(await source.read()) for _ in range(3)]
        pid = next(
            child.pid for child in psutil.Process().children() if "nvidia-smi" in name(child)
        )
        await source.aclose()
    assert [[reading.id for reading in one] for one in rounds] == [[0, 1, 2, 3]] * 3
    temperatures = [{reading.temp_c for reading in one} for one in rounds]
    assert all(len(one) == 1 for one in temperatures), "a round mixes two"
    assert not is_alive(pid)


def name(process: psutil.Process) -> str:
    return " ".join(process.cmdline())


async def test_a_tool_and_what_it_started_die_with_the_monitor(
    path: Path, nursery: trio.Nursery, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    scripted.tool(
        path,
        "nvidia-smi",
        f"signal.signal(signal.SIGTERM, signal.SIG_IGN)\nchild = os.fork()\n"
        f"if child: open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child}}')\n"
        "print('0, X, GPU-0, 1, 2, 3, 4, 5, 6', flush=True)\ntime.sleep(60)",
    )
    source = await NvidiaSmi().open(5, nursery)
    await source.read()
    await settled(lambda: len(pids.read_text().split()) == 2 if pids.exists() else False)
    await source.aclose()
    await settled(lambda: not any(is_alive(int(pid)) for pid in pids.read_text().split()))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("sys.exit(9)", "exited with status 9"),
        ("print('NVIDIA-SMI has failed'); sys.exit(9)", "exited with status 9"),
        ("os.write(1, b'x' * (2 << 20))", "line of more than 1 MiB"),
    ],
)
async def test_an_nvidia_smi_that_ends_is_no_use(
    path: Path, nursery: trio.Nursery, code: str, words: str
) -> None:
    scripted.tool(path, "nvidia-smi", code)
    with pytest.raises(SourceFailed, match=words):
        await read(NvidiaSmi(), nursery)


@pytest.mark.parametrize("candidate", [NvidiaSmi(), RocmSmi(), Ioreg(), Mactop()])
async def test_a_tool_that_is_not_there(candidate: Candidate, nursery: trio.Nursery) -> None:
    with pytest.raises(SourceFailed, match="is not on PATH"):
        await read(candidate, nursery)


async def test_a_file_that_cannot_be_run(path: Path, nursery: trio.Nursery) -> None:
    scripted.tool(path, "nvidia-smi", "").write_bytes(b"\x7fELF nothing")
    with pytest.raises(SourceFailed, match="cannot be run"):
        await read(NvidiaSmi(), nursery)


async def test_rocm_smi_is_run_for_each_reading(path: Path, nursery: trio.Nursery) -> None:
    scripted.tool(
        path,
        "rocm-smi",
        "assert sys.argv[1:] == '-i -P -t -f -u --showmemuse --showmeminfo vram "
        f"--showproductname --csv'.split(), sys.argv\nprint({NEW_ROCM!r})",
    )
    readings = await read(RocmSmi(), nursery)
    assert [reading.uuid for reading in readings] == ["19246", "22"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("time.sleep(60)", "did not answer within"),
        ("print('device,GUID\\ncard0,1'); sys.exit(2)", "status 2"),
        ("print('no driver')", "names no card"),
        ("os.write(1, b'x' * (5 << 20)); time.sleep(60)", "more than 4 MiB"),
    ],
)
async def test_a_rocm_smi_that_hangs_fails_or_babbles_is_no_use(
    path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, code: str, words: str
) -> None:
    if "answer" in words:
        monkeypatch.setattr("llamaswap.telemetry.gpu.rocm_smi.LIMIT", 0.5)
    scripted.tool(path, "rocm-smi", code)
    before = time.monotonic()
    with pytest.raises(SourceFailed, match=words):
        await read(RocmSmi(), nursery)
    assert time.monotonic() - before < 20
    assert not [child for child in psutil.Process().children() if "rocm-smi" in name(child)]


async def test_a_tool_no_signal_can_end_is_left_behind_and_not_run_again_beside_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    with monkeypatch.context() as deaf:
        deaf.setattr(os, "killpg", lambda pid, sig: sent.append(pid))
        deaf.setattr(tool, "GOODBYE", 0.1)
        stuck = str(scripted.tool(path, "stuck", "time.sleep(60)"))
        with trio.fail_after(10), pytest.raises(SourceFailed, match="did not answer"):
            await tool.output_of([stuck], limit=0.1)
    with pytest.raises(SourceFailed, match=f"process {sent[0]} of before cannot be killed"):
        await tool.output_of([stuck], limit=0.1)
    os.kill(sent[0], 9)
    await settled(lambda: not is_alive(sent[0]))
    scripted.tool(path, "stuck", "print('well again')")
    assert await tool.output_of([stuck], limit=20) == "well again\n"


async def test_the_macs_tools(path: Path, nursery: trio.Nursery) -> None:
    scripted.tool(
        path,
        "mactop",
        "assert sys.argv[1:] == ['--headless', '--format', 'json', '--interval', '5000']\n"
        f"import json\nprint('starting up')\nprint(json.dumps({MACTOP!r}), flush=True)\n"
        "time.sleep(60)",
    )
    mactop = Mactop(ioreg=Ioreg(total_memory=lambda: 96 << 30))
    [alone] = await read(mactop, nursery)
    assert (alone.temp_c, alone.mem_used_mb, alone.mem_total_mb) == (62, 32768, 65536)
    scripted.tool(path, "ioreg", f"print({IOREG!r})")
    [both] = await read(mactop, nursery)
    assert (both.temp_c, both.mem_used_mb, both.mem_total_mb) == (62, 2048, 98304)
    [registry] = await read(Ioreg(total_memory=lambda: 96 << 30), nursery)
    assert registry.name == "Apple M2 Max (38-core GPU)"
    scripted.tool(path, "ioreg", "print('nothing')")
    with pytest.raises(SourceFailed, match="no graphics card"):
        await read(Ioreg(), nursery)


# --- the search -----------------------------------------------------------------------------------


async def test_a_broken_tool_does_not_hide_the_next_one(
    path: Path, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    scripted.tool(path, "nvidia-smi", "print('Driver/library version mismatch'); sys.exit(18)")
    scripted.tool(path, "rocm-smi", f"print({NEW_ROCM!r})")
    plan = Plan((), ((NvidiaSmi(),), (RocmSmi(),)))
    rejected: dict[str, str] = {}
    parts = await Search(plan, 5, nursery, rejected).run()
    assert [part.name for part in parts] == ["rocm-smi"]
    assert rejected == {"nvidia-smi": "nvidia-smi exited with status 18"}
    assert "nvidia-smi exited with status 18" in caplog.text
    caplog.clear()
    await Search(plan, 5, nursery, rejected).run()
    assert caplog.text == ""  # the same reason is not told again


def test_each_platform_has_its_order() -> None:
    def names(platform: str) -> list[object]:
        plan = search.plan_for(platform)
        return [[c.name for c in plan.whole], *([c.name for c in v] for v in plan.vendors)]

    assert names("linux") == [["LACT"], ["NVML", "nvidia-smi"], ["rocm-smi"]]
    assert names("freebsd14") == names("linux")
    assert names("darwin") == [["mactop", "ioreg"]]
    assert names("win32") == [[], ["NVML", "nvidia-smi"]]


async def test_the_real_machine_is_sampled_whatever_it_has(nursery: trio.Nursery) -> None:
    watched = Monitor(Performance(), EventBus())
    with watched.bus.subscribe() as feed:
        nursery.start_soon(watched.run)
        with trio.fail_after(20):
            await anext(feed)
    assert watched.newest_system is not None
    assert watched.newest_system.mem_total_mb > 0
