"""The program as a whole: start, exit codes, signals, reload, and that nothing outlives it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest
import trio

from llamaswap.nursery.process_group import MARK_VARIABLE
from tests.integration.certificates import self_signed
from tests.integration.processes import fake_command, is_alive, read_pids, settled
from tests.integration.program import command, hasty, started, write
from tests.integration.reload_stage import START_PORTS


def one_model(*flags: str, more: str = "") -> str:
    return f"""
startPort: {next(START_PORTS)}
models:
  m:
    cmd: {fake_command(*flags)} --port ${{PORT}}
    {more}
  other:
    cmd: {fake_command(*flags)} --port ${{PORT}}
"""


def run(*flags: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*flags), capture_output=True, text=True, timeout=60, cwd=cwd, check=False
    )


def test_version_wins_over_everything() -> None:
    done = run("-version", "-config", "/nonexistent")
    assert done.returncode == 0
    assert done.stdout.startswith("version: ")


def test_help_is_on_stderr() -> None:
    done = run("-h")
    assert (done.returncode, done.stdout) == (0, "")
    assert "-config" in done.stderr


def test_a_command_line_that_makes_no_sense_exits_2_with_the_flags() -> None:
    done = run("-nonsense")
    assert done.returncode == 2
    assert "-nonsense" in done.stderr
    assert "-listen" in done.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-config", "/nonexistent.yaml"], ["/nonexistent.yaml"]),
        (["-tls-cert-file", "x"], ["-tls-cert-file", "-tls-key-file"]),
        (["-listen", "8080"], ["8080", "host:port"]),
        (["-listen", "no.such.host.invalid:80"], ["no.such.host.invalid"]),
    ],
)
def test_what_keeps_it_from_starting_exits_1_and_says_why(
    flags: list[str], words: list[str]
) -> None:
    done = run(*flags)
    assert done.returncode == 1
    assert all(word in done.stderr for word in words), done.stderr


def test_a_broken_file_names_every_problem_with_file_line_and_key(tmp_path: Path) -> None:
    path = write(
        tmp_path / "bad.yaml",
        "models:\n  a:\n    cmd: [no, list]\n    proxy: http://h:1\n"
        "  b:\n    cmd: x\n    proxy: http://h:1\n    ttl: many\n    aliases: nope\n",
    )
    for flags in (["-config", path], ["-config", path, "-check-config"]):
        done = run(*flags)
        assert done.returncode == 1
        for words in (
            "bad.yaml:3",
            "models.a.cmd",
            "bad.yaml:8",
            "models.b.ttl",
            "models.b.aliases",
        ):
            assert words in done.stderr, done.stderr


def test_check_config_prints_what_would_run_and_starts_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "c.yaml", one_model().replace("startPort", "x-ignored"))
    done = run("-config", path, "-check-config")
    assert done.returncode == 0
    assert "  m: port 5800" in done.stdout


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "c.yaml", one_model())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("-config", path, "-listen", f"127.0.0.1:{port}")
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr
    assert "in use" in done.stderr


async def test_the_embedded_default_loads_streams_and_swaps() -> None:
    async with started() as program:
        assert "curl" in program.log()
        body = {
            "model": "demo-small",
            "stream": True,
            "messages": [{"role": "user", "content": "x"}],
        }
        async with program.http.stream("POST", "/v1/chat/completions", json=body) as answer:
            pieces = [line async for line in answer.aiter_lines()]
        assert "data: [DONE]" in pieces
        assert (await program.chat("demo-large", max_tokens=2)).status_code == 200
        assert await program.running() == {"demo-large": "ready"}
        vectors = await program.http.post(
            "/v1/embeddings", json={"model": "demo-embed", "input": "hello"}
        )
        assert len(vectors.json()["data"][0]["embedding"]) == 64
        assert await program.running() == {"demo-large": "ready", "demo-embed": "ready"}


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
async def test_a_stop_signal_ends_it_in_order(tmp_path: Path, sig: signal.Signals) -> None:
    async with started("-config", write(tmp_path / "c.yaml", one_model())) as program:
        assert (await program.chat("m")).status_code == 200
        pids = [child.pid for child in program.children()]
        assert len(pids) == 2  # the model and the guardian
        assert await program.stop(sig) == 0
        assert not any(is_alive(pid) for pid in pids)
        assert "shutdown complete" in program.log()


async def test_a_shutdown_that_takes_too_long_says_what_it_cuts(tmp_path: Path) -> None:
    """The program's clock runs 20 times as fast."""
    text = one_model("--work", "60") + "healthCheckTimeout: 3600\n"
    path = write(tmp_path / "c.yaml", text)
    async with started("-config", path, program=hasty(20)) as program:
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with suppress(httpx.TransportError):
                    await program.chat("m")

            nursery.start_soon(ask)
            with trio.fail_after(20):
                while (await program.running()).get("m") != "ready":
                    await trio.sleep(0.02)
            assert await program.stop() == 0
            nursery.cancel_scope.cancel()
        assert "[WARN] 1 requests are still under way after 20 s and are cut" in program.log()


async def test_requests_in_flight_finish_before_the_end(tmp_path: Path) -> None:
    async with started(
        "-config", write(tmp_path / "c.yaml", one_model("--work", "1.5"))
    ) as program:
        assert (await program.chat("m")).status_code == 200
        async with trio.open_nursery() as nursery:
            statuses: list[int] = []

            async def ask() -> None:
                statuses.append((await program.chat("m")).status_code)

            nursery.start_soon(ask)
            await trio.sleep(0.3)
            program.process.send_signal(signal.SIGTERM)
        assert statuses == [200]
        assert await program.process.wait() == 0


async def test_a_second_signal_kills_at_once(tmp_path: Path) -> None:
    text = one_model("--ignore-term", more="unloadTimeout: 60")
    async with started("-config", write(tmp_path / "c.yaml", text)) as program:
        assert (await program.chat("m")).status_code == 200
        pids = program.model_pids()
        program.process.send_signal(signal.SIGTERM)
        await settled(lambda: "shutting down" in program.log())
        await trio.sleep(0.2)
        assert await program.stop(signal.SIGTERM, within=10) == 1
        await settled(lambda: not any(is_alive(pid) for pid in pids))


async def test_no_child_survives_the_program_even_when_it_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    text = one_model("--ignore-term", "--child", "setsid", "--pids", str(pids))
    async with started("-config", write(tmp_path / "c.yaml", text)) as program:
        assert (await program.chat("m")).status_code == 200
        children = [child.pid for child in program.children()]
        assert set(await read_pids(pids)) < set(children)
        program.process.kill()
        await program.process.wait()
        await settled(lambda: not any(is_alive(pid) for pid in children), within=15)


async def test_what_a_killed_program_and_guardian_left_is_swept_at_the_next_start(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "c.yaml", one_model("--ignore-term"))
    async with started("-config", path) as program:
        assert (await program.chat("m")).status_code == 200
        [left] = program.model_pids()
        for child in program.children():
            if child.pid != left:
                child.kill()
        program.process.kill()
        await program.process.wait()
        assert is_alive(left)
        async with started("-config", path) as second:
            assert not is_alive(left)
            assert f"process {left}" in second.log()


async def test_management_endpoints(tmp_path: Path) -> None:
    text = one_model(more="aliases: [n, 'a/b']\n    description: ' d '")
    async with started("-config", write(tmp_path / "c.yaml", text)) as program:
        http = program.http
        for path in ("/health", "/wol-health"):
            answer = await http.get(path)
            assert (answer.text, answer.headers["content-type"]) == (
                "OK",
                "text/plain; charset=utf-8",
            )
        assert set((await http.get("/api/version")).json()) == {"version", "commit", "build_date"}
        assert (await http.get("/running")).json() == {"running": []}
        listed = (await http.get("/v1/models", headers={"Origin": "http://x"})).json()
        assert [entry["id"] for entry in listed["data"]] == ["m", "other"]
        assert listed["data"][0]["description"] == "d"
        assert listed["data"][0]["meta"]["llamaswap"] == {"type": "model", "aliases": ["n", "a/b"]}
        for unload in (
            http.build_request("GET", "/unload"),
            http.build_request("POST", "/api/models/unload"),
            http.build_request("POST", "/api/models/unload/m"),
            http.build_request("POST", "/api/models/unload/a%2Fb"),
        ):
            assert (await program.chat("n")).status_code == 200
            assert await program.running() == {"m": "ready"}
            assert (await http.send(unload)).status_code == 200
            assert await program.running() == {}
        for unknown in ("/api/models/unload/zzz", "/api/models/unload/"):
            answer = await http.post(unknown)
            assert (answer.status_code, answer.json()["error"]["message"]) == (
                404,
                "model not found",
            )
        assert (await http.head("/unload")).status_code == 405
        assert (await http.head("/health")).status_code == 200
        root = await http.get("/")
        assert (root.status_code, root.headers["location"]) == (302, "/ui")
        page = await http.get("/ui/")  # built or not, depending on the checkout
        assert page.status_code == 200 or "npm run build" in page.text


async def test_logs_show_what_stdout_shows_and_streams_follow_a_model(tmp_path: Path) -> None:
    text = one_model("--say", "hello-from-the-model")
    async with started("-config", write(tmp_path / "c.yaml", text)) as program:
        seen = bytearray()
        async with trio.open_nursery() as nursery:

            async def follow() -> None:
                async with program.http.stream("GET", "/logs/stream/m") as answer:
                    assert answer.headers["content-type"] == "text/plain"
                    async for data in answer.aiter_raw():
                        seen.extend(data)

            nursery.start_soon(follow)
            assert (await program.chat("m")).status_code == 200
            await settled(lambda: b"hello-from-the-model" in seen)
            nursery.cancel_scope.cancel()
        await settled(lambda: "POST /v1/chat/completions" in program.log())
        history = (await program.http.get("/logs")).text
        assert "POST /v1/chat/completions" in history
        assert "hello-from-the-model" not in history
        unknown = await program.http.get("/logs/stream/nobody")
        assert unknown.status_code == 400
        assert "invalid logger" in unknown.json()["error"]["message"]
        html = await program.http.get("/logs", headers={"Accept": "text/html"})
        assert html.headers["location"] == "/ui/logs"


async def test_an_open_log_stream_does_not_hold_the_end_up(tmp_path: Path) -> None:
    async with started("-config", write(tmp_path / "c.yaml", one_model())) as program:
        async with trio.open_nursery() as nursery:

            async def follow() -> None:
                async with program.http.stream("GET", "/logs/stream") as answer:
                    async for _ in answer.aiter_raw():
                        pass

            nursery.start_soon(follow)
            await trio.sleep(0.3)
            assert await program.stop(within=5) == 0


async def test_children_get_the_limit_of_open_files_and_the_mark(tmp_path: Path) -> None:
    import resource

    async with started("-config", write(tmp_path / "c.yaml", one_model())) as program:
        answer = (await program.chat("m")).json()
        assert answer["environ"][MARK_VARIABLE].startswith(f"{program.pid}-")
        ours = resource.prlimit(program.pid, resource.RLIMIT_NOFILE)
        childs = resource.prlimit(answer["pid"], resource.RLIMIT_NOFILE)
        assert childs[0] <= ours[0]


async def test_https_with_a_certificate(tmp_path: Path) -> None:
    cert, key = self_signed(tmp_path, "localhost")
    flags = ["-tls-cert-file", str(cert), "-tls-key-file", str(key)]
    async with started("-config", write(tmp_path / "c.yaml", one_model()), *flags) as program:
        assert program.url.startswith("https://")
        assert (await program.chat("m")).status_code == 200
        assert (await program.http.get("/health")).text == "OK"


async def test_an_ignored_websocket_does_not_hold_the_ttl(tmp_path: Path) -> None:
    text = one_model(more="ttl: 1\n    compat: {ignoreWebsockets: true}")
    async with started("-config", write(tmp_path / "c.yaml", text)) as program:
        assert (await program.chat("m")).status_code == 200
        host, port = program.url.removeprefix("http://").split(":")
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(
                b"GET /upstream/m/socket HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n"
                b"Upgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"
            )
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 101 ")
            with trio.fail_after(20):
                while await stream.receive_some():  # the unloaded model's end cuts the socket
                    pass
                while await program.running() != {}:
                    await trio.sleep(0.02)


async def test_keys_guard_everything_but_health(tmp_path: Path) -> None:
    text = one_model() + "apiKeys: [secret]\n"
    async with started("-config", write(tmp_path / "c.yaml", text)) as program:
        assert (await program.http.get("/health")).status_code == 200
        assert (await program.http.get("/running")).status_code == 401
        answer = await program.http.get("/running", headers={"Authorization": "Bearer secret"})
        assert answer.status_code == 200
        assert "secret" not in program.log()


async def test_a_stdout_nobody_reads_stops_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "c.yaml", one_model("--flood", "2") + "logToStdout: both\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        command("-config", path, "-listen", f"127.0.0.1:{port}"), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
            with trio.fail_after(20):
                while True:
                    try:
                        await http.get("/health")
                        break
                    except httpx.ConnectError:
                        await trio.sleep(0.05)
            for model in ("m", "other", "m"):
                answer = await http.post("/v1/embeddings", json={"model": model})
                assert answer.status_code == 200
        process.send_signal(signal.SIGTERM)
        assert await trio.to_thread.run_sync(process.wait, 40) == 0
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


async def test_idle_memory_is_modest(tmp_path: Path) -> None:
    async with started("-config", write(tmp_path / "c.yaml", one_model())) as program:
        assert (await program.http.get("/health")).status_code == 200
        assert psutil.Process(program.pid).memory_info().rss < 80_000_000


def test_sys_is_the_interpreter_under_test() -> None:
    assert os.path.samefile(sys.executable, command()[0])
