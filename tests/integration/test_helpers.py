"""`vllm-wrapper` and `wol-proxy` as real processes. Source: telemetry §7.5, §7.6, T101–T106."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil
import pytest
import trio

from llamaswap import vllm_wrapper, wol_proxy
from llamaswap.nursery.process_group import MARK_VARIABLE
from tests.integration.processes import free_port, free_ports, is_alive, settled
from tests.integration.program import started, write

FAKE_VLLM = Path(__file__).with_name("fake_vllm.py")


@asynccontextmanager
async def running(module: str, *words: str) -> AsyncIterator[tuple[trio.Process, bytearray]]:
    """A helper once it listens; its output is read all the time."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", module, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    stdout, output = process.stdout, bytearray()
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            async for data in stdout:
                output.extend(data)

        nursery.start_soon(read)
        try:
            await settled(lambda: b"listening on" in output, within=30)
            yield process, output
        finally:
            with trio.CancelScope(shield=True):
                if process.poll() is None:
                    process.kill()
                await process.wait()
            nursery.cancel_scope.cancel()
    with trio.CancelScope(shield=True):
        await stdout.aclose()


# --- vllm-wrapper ---------------------------------------------------------------------------------


@pytest.fixture
def daemons() -> Iterator[list[int]]:
    """Pids that outlive what they test; ended here."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


def daemon_command(port: int, log: Path, *more: str) -> list[str]:
    return [sys.executable, "-I", "-S", str(FAKE_VLLM), str(port), str(log), *more]


async def test_a_model_behind_vllm_wrapper_sleeps_instead_of_ending(
    tmp_path: Path, daemons: list[int]
) -> None:
    """Through the whole program: load, unload, load; one daemon lives through it all."""
    port, log = free_port(), tmp_path / "vllm with spaces.log"
    words = [
        *(sys.executable, "-m", "llamaswap.vllm_wrapper", "serve"),
        *("--vllm-url", f"http://127.0.0.1:{port}/", "-listen=127.0.0.1:${PORT}"),
        *("-wait-timeout", "30s", "-daemon-log", str(tmp_path / "daemon.log")),
        *("--", *daemon_command(port, log)),
    ]
    cmd = shlex.join(words).replace("'-listen=127.0.0.1:${PORT}'", "-listen=127.0.0.1:${PORT}")
    model = f"models:\n  m:\n    cmd: {cmd}\n    unloadTimeout: 20\n"
    text = f"logToStdout: both\nstartPort: {free_ports()}\n{model}"
    async with started("-config", write(tmp_path / "c.yaml", text)) as program:
        first = (await program.chat("m")).json()["pid"]
        daemons.append(first)
        assert MARK_VARIABLE not in psutil.Process(first).environ()
        events = await program.http.get("/upstream/m/v1/events")
        assert events.headers["x-accel-buffering"] == "no"
        assert (await program.http.post("/api/models/unload")).status_code == 200
        assert log.read_text().splitlines()[-1] == 'POST /sleep {"level":1}'
        assert is_alive(first)
        again = await program.chat("m")
        assert again.json() == {"pid": first}, program.log()
        await settled(lambda: "daemon says" in program.log())
        assert "POST /wake_up" in log.read_text()
        assert await program.stop() == 0
    assert is_alive(first)
    assert log.read_text().count("POST /sleep") == 2


async def test_sigint_ends_the_wrapper_without_sleep(tmp_path: Path, daemons: list[int]) -> None:
    port, log = free_port(), tmp_path / "log"
    words = ["serve", "-vllm-url", f"http://127.0.0.1:{port}", "-listen", "127.0.0.1:0", "--"]
    async with running("llamaswap.vllm_wrapper", *words, *daemon_command(port, log)) as (
        process,
        _,
    ):
        async with httpx.AsyncClient(trust_env=False) as http:
            daemons.append((await http.get(f"http://127.0.0.1:{port}/")).json()["pid"])
        process.send_signal(signal.SIGINT)
        with trio.fail_after(20):
            assert await process.wait() == 0
    assert "/sleep" not in log.read_text()


def test_a_daemon_that_never_becomes_healthy_is_ended(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pidfile = tmp_path / "pid"
    script = "import os,sys,time; open(sys.argv[1],'w').write(str(os.getpid())); time.sleep(60)"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "llamaswap.vllm_wrapper", "serve"),
            *("-vllm-url", f"http://127.0.0.1:{free_port()}", "-listen", "127.0.0.1:0"),
            *("-wait-timeout", "2s", "--", sys.executable, "-c", script, str(pidfile)),
        ],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "does not answer 200 within 2 s" in done.stderr
    assert not is_alive(int(pidfile.read_text()))
    del capfd


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["serve", "-listen", "127.0.0.1:0", "--", "true"], 1),
        (["serve", "-vllm-url", "http://x", "--", "true"], 1),
        (["serve", "-vllm-url", "http://x", "-listen", ":0"], 1),
        (["serve", "-nonsense"], 2),
        (["sleep"], 1),
        ([], 2),
        (["wake"], 2),
        (["-h"], 0),
        (["serve", "-h"], 0),
    ],
)
def test_exit_codes_of_vllm_wrapper(words: list[str], code: int) -> None:
    assert vllm_wrapper.main(words) == code


@pytest.mark.parametrize("fails", [False, True])
async def test_sleep_ends_a_process_only_if_vllm_sleeps(tmp_path: Path, fails: bool) -> None:
    port, log = free_port(), tmp_path / "log"
    more = ["fail"] if fails else []
    daemon = subprocess.Popen(daemon_command(port, log, *more), stdout=subprocess.DEVNULL)
    victim = subprocess.Popen(["sleep", "60"])
    try:
        async with httpx.AsyncClient(trust_env=False) as http:
            with trio.fail_after(20):
                while True:
                    try:
                        await http.get(f"http://127.0.0.1:{port}/health")
                        break
                    except httpx.TransportError:
                        await trio.sleep(0.05)
        words = ["sleep", f"--vllm-url=http://127.0.0.1:{port}", f"--stop-pid={victim.pid}"]
        code = await trio.to_thread.run_sync(vllm_wrapper.main, words)
        assert code == (1 if fails else 0)
        assert log.read_text().splitlines()[-1] == 'POST /sleep {"level":1}'
        if fails:
            assert victim.poll() is None
        else:
            assert victim.wait(20) == -signal.SIGTERM
    finally:
        for process in (daemon, victim):
            process.kill()
            process.wait()


# --- wol-proxy ------------------------------------------------------------------------------------


@pytest.fixture
def packets() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


def received(packets: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(packets.recv(2048))
        except BlockingIOError:
            return found


def wol_flags(packets: socket.socket, upstream: str, *more: str) -> list[str]:
    host, port = packets.getsockname()
    return [
        *("-mac", "00:11:22:33:44:55", "-upstream", upstream, "-listen", "127.0.0.1:0"),
        *("-broadcast", f"{host}:{port}", *more),
    ]


def url_of(output: bytearray) -> str:
    return output.decode().partition("listening on ")[2].split()[0]


async def test_wol_proxy_wakes_holds_and_then_forwards(
    tmp_path: Path, packets: socket.socket
) -> None:
    port = free_port()
    flags = wol_flags(packets, f"http://127.0.0.1:{port}")
    async with running("llamaswap.wol_proxy", *flags) as (process, output):
        async with httpx.AsyncClient(base_url=url_of(output), timeout=60, trust_env=False) as http:
            assert (await http.get("/status")).text.startswith("status: not ready\nfailures: ")
            assert (await http.get("/api/events")).status_code == 204
            assert received(packets) == []
            page = await http.get("/ui/models")
            assert "location.reload" in page.text
            assert received(packets) == [b"\xff" * 6 + bytes.fromhex("001122334455") * 16]
            statuses: list[int] = []
            async with trio.open_nursery() as nursery:

                async def ask() -> None:
                    statuses.append((await http.get("/v1/models")).status_code)

                nursery.start_soon(ask)
                await trio.sleep(0.3)
                assert statuses == []
                log = tmp_path / "log"
                woken = subprocess.Popen(daemon_command(port, log), stdout=subprocess.DEVNULL)
                try:
                    await settled(lambda: statuses == [200], within=30)
                    assert (await http.get("/status")).text == "status: ready\nfailures: 0\n"
                    answer = await http.post("/v1/chat/completions?x=%2F", json={"model": "m"})
                    assert answer.json() == {"pid": woken.pid}
                finally:
                    woken.kill()
                    woken.wait()
            assert log.read_text().splitlines()[-1] == (
                'POST /v1/chat/completions?x=%2F {"model":"m"}'
            )
            await settled(lambda: b"is gone" in output)
            assert (await http.get("/status")).text.startswith("status: not ready")
        process.send_signal(signal.SIGTERM)
        with trio.fail_after(20):
            assert await process.wait() == 0


async def test_wol_proxy_gives_up_after_its_timeout(packets: socket.socket) -> None:
    flags = wol_flags(packets, f"http://127.0.0.1:{free_port()}", "-timeout", "1")
    async with running("llamaswap.wol_proxy", *flags) as (_, output):
        async with httpx.AsyncClient(base_url=url_of(output), timeout=60, trust_env=False) as http:
            answer = await http.post("/v1/chat/completions", json={"model": "m"})
            assert (answer.status_code, answer.text) == (408, "timeout")
    assert 1 <= len(received(packets)) <= 2  # one a second at most


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["-upstream", "http://x"], 1),
        (["-mac", "00:11:22:33:44", "-upstream", "http://x"], 1),
        (["-mac", "00:11:22:33:44:5g", "-upstream", "http://x"], 1),
        (["-mac", "00:11:22:33:44:55", "-upstream", "x"], 1),
        (["--mac=00-11-22-33-44-55", "--upstream=http://x", "--timeout=0"], 2),
        (["-mac", "001122334455", "-upstream", "http://x", "-log", "loud"], 2),
        (["-nonsense"], 2),
        (["--help"], 0),
    ],
)
def test_exit_codes_of_wol_proxy(words: list[str], code: int) -> None:
    assert wol_proxy.main(words) == code
