"""Cases T13-T16, T22-T41 of telemetry §9: logs as clients of the whole program see them."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import trio

from llamaswap.api import logs as log_routes
from llamaswap.api.app import ControlPlane
from llamaswap.api.server import serve_control_plane
from llamaswap.config.schema import Config
from llamaswap.telemetry.loghub import LogHub
from tests.integration.processes import fake_command, free_port, settled
from tests.integration.program import Program, command, hasty, started, write

PLAIN = {"Accept": "*/*"}


def models(**commands: str) -> str:
    lines = [f"startPort: {free_port()}", "performance: {disabled: true}", "models:"]
    for name, cmd in commands.items():
        lines += [f"  {name}:", f"    cmd: {cmd} --port ${{PORT}}"]
    return "\n".join(lines) + "\n"


@asynccontextmanager
async def following(program: Program, path: str) -> AsyncIterator[bytearray]:
    """What a log stream has brought so far, for the length of the block."""
    seen = bytearray()
    async with trio.open_nursery() as nursery:

        async def follow(*, task_status: trio.TaskStatus[None]) -> None:
            async with program.http.stream("GET", path) as answer:
                assert answer.status_code == 200
                task_status.started()
                async for data in answer.aiter_raw():
                    seen.extend(data)

        await nursery.start(follow)
        yield seen
        nursery.cancel_scope.cancel()


async def history(program: Program, path: str) -> str:
    return (await program.http.get(f"{path}?no-follow")).text


# --- sources and selectors ------------------------------------------------------------------------


async def test_every_selector_and_what_it_shows(tmp_path: Path) -> None:
    text = (
        models(author=fake_command("--say", "of-author"), m=fake_command("--say", "of-m"))
        + f"  author/m:\n    cmd: {fake_command('--say', 'of-author-m')} --port ${{PORT}}\n"
        + "    aliases: [short, 'deep/er']\n    unlisted: true\n"
        + f"  proxy:\n    cmd: {fake_command('--say', 'of-model-proxy')} --port ${{PORT}}\n"
        + "selectors:\n  pick: {strategy: warm, targets: [m]}\n"
        + "peers:\n  east: {proxy: 'http://127.0.0.1:9', models: [solo]}\n"
        + "groups: {g: {swap: false, members: [author, m, author/m, proxy]}}\n"
    )
    async with started("-config", write(tmp_path / "c.yaml", text)) as program:
        for model in ("author", "author/m", "m", "proxy"):
            assert (await program.chat(model)).status_code == 200
        for selector in (
            "author/m",
            "author%2Fm",
            "author/m/extra",
            "short",
            "deep/er",
            "%2Fauthor%2Fm",
        ):
            shown = await history(program, f"/logs/stream/{selector}")
            assert shown.startswith("of-author-m\n"), selector
        for selector in ("author", "author/x"):
            assert (await history(program, f"/logs/stream/{selector}")).startswith("of-author\n")
        proxy = await history(program, "/logs/stream/proxy")
        assert "of-model-proxy" not in proxy
        assert "POST /v1/chat/completions" in proxy
        upstream = await history(program, "/logs/stream/upstream")
        assert {"of-author", "of-m", "of-author-m", "of-model-proxy"} <= set(upstream.split())
        combined = (await program.http.get("/logs", headers=PLAIN)).text
        assert combined
        # records of the requests above may have come between the two looks
        assert (await history(program, "/logs/stream")).startswith(combined)
        assert "of-m" not in combined
        everything = await history(program, "/logs/stream/all")
        assert "of-m" in everything
        assert "POST /v1/chat/completions" in everything
        for unknown in ("nope", "east/solo", "solo", "pick"):
            answer = await program.http.get(f"/logs/stream/{unknown}")
            assert answer.status_code == 400, unknown
            assert answer.json() == {
                "src": "llama-swap",
                "error": {
                    "message": "invalid logger. Use 'proxy', 'upstream' or a model's ID",
                    "type": answer.json()["error"]["type"],
                    "param": None,
                    "code": "bad_request",
                },
            }
        plain = await program.http.get("/logs/stream/nope", headers={"Accept": "text/plain"})
        assert plain.status_code == 400
        assert plain.text.startswith("llama-swap: invalid logger.")


async def test_a_model_called_all_has_its_own_log(tmp_path: Path) -> None:
    text = models(all=fake_command("--say", "of-all"))
    async with started("-config", write(tmp_path / "c.yaml", text)) as program:
        assert (await program.chat("all")).status_code == 200
        assert (await history(program, "/logs/stream/all")).startswith("of-all\n")


@pytest.mark.parametrize(("mode", "shown"), [("both", True), ("none", False)])
async def test_logs_show_what_stdout_shows(tmp_path: Path, mode: str, shown: bool) -> None:
    text = models(m=fake_command("--say", "of-the-child")) + f"logToStdout: {mode}\n"
    port = free_port()
    flags = ("-config", write(tmp_path / "c.yaml", text), "-listen", f"127.0.0.1:{port}")
    process = await trio.lowlevel.open_process(command(*flags), stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
            await until_answering(http)
            body = {"model": "m", "messages": []}
            assert (await http.post("/v1/chat/completions", json=body)).status_code == 200
            with trio.fail_after(20):
                while "POST /v1/chat" not in (await http.get("/logs/stream/proxy?no-follow")).text:
                    await trio.sleep(0.02)
            history = (await http.get("/logs")).text
        process.terminate()
        printed = b"".join([data async for data in process.stdout]).decode()
        for output in (history, printed):
            assert ("POST /v1/chat" in output) is ("of-the-child" in output) is shown
        assert shown or printed == ""
    finally:
        if process.poll() is None:
            process.kill()
        await process.wait()
        await process.stdout.aclose()


async def until_answering(http: httpx.AsyncClient) -> None:
    with trio.fail_after(30):
        while True:
            try:
                await http.get("/health")
            except httpx.ConnectError:
                await trio.sleep(0.05)
            else:
                return


# --- the life of a model's log --------------------------------------------------------------------


async def test_unloading_frees_a_models_log_and_keeps_its_followers(tmp_path: Path) -> None:
    text = models(m=fake_command("--say", "hello-from-m"))
    async with started("-config", write(tmp_path / "c.yaml", text)) as program:
        async with following(program, "/logs/stream/m") as seen:
            for times in (1, 2):
                assert (await program.chat("m")).status_code == 200
                await settled(lambda times=times: seen.count(b"hello-from-m") == times)  # type: ignore[misc]
                assert "hello-from-m" in await history(program, "/logs/stream/m")
                assert (await program.http.post("/api/models/unload/m")).status_code == 200
                assert await history(program, "/logs/stream/m") == ""
        assert (await history(program, "/logs/stream/upstream")).count("hello-from-m") == 2


async def test_what_a_crash_left_can_be_read_until_the_next_start(tmp_path: Path) -> None:
    crashing = fake_command("--say", "out-of-memory", "--exit-after", "0", "--exit-code", "9")
    text = models(m=crashing) + "    proxy: http://127.0.0.1:9\n"
    async with started("-config", write(tmp_path / "c.yaml", text)) as program:
        for _ in range(2):
            answer = await program.chat("m")
            assert answer.status_code == 500
            assert "out-of-memory" in answer.json()["error"]["message"]
            assert (await history(program, "/logs/stream/m")).count("out-of-memory") == 1


async def test_a_reload_changes_level_format_and_target_and_ends_only_what_is_gone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "c.yaml"
    base = models(m=fake_command("--say", "of-the-child"))
    async with started("-config", write(path, base)) as program:
        async with (
            following(program, "/logs/stream/proxy") as proxy,
            following(program, "/logs/stream/m") as gone,
        ):
            assert (await program.chat("m")).status_code == 200
            await settled(lambda: b"of-the-child" in gone)
            assert b"[DEBUG]" not in proxy
            write(path, base + "logLevel: debug\nlogTimeFormat: rfc3339\nlogToStdout: both\n")
            program.process.send_signal(signal.SIGHUP)
            await settled(lambda: b"configuration reloaded" in proxy)
            assert (await program.http.post("/api/models/unload")).status_code == 200
            assert (await program.chat("m")).status_code == 200
            stamped = re.compile(
                rb"^\d{4}-\d\d-\d\dT[\d:]{8}(Z|[+-]\d\d:\d\d) \[DEBUG\] <m>", re.MULTILINE
            )
            await settled(lambda: stamped.search(proxy) is not None)
            await settled(lambda: "of-the-child" in program.log())
            assert b"[DEBUG] <m> stopping process" in gone  # the record belongs to its log
            write(path, "models: {}\nlogToStdout: both\n")
            program.process.send_signal(signal.SIGHUP)
            await settled(lambda: proxy.count(b"configuration reloaded") == 2)
            assert (await program.http.get("/health")).status_code == 200
            await settled(lambda: proxy.count(b"GET /health") == 1)  # it goes on


async def test_debug_names_variables_and_hides_what_looks_like_a_secret(tmp_path: Path) -> None:
    text = models(m=fake_command("--name", "sk-12345")) + "    env: ['FAKE_KEY=hunter2']\n"
    path = write(tmp_path / "c.yaml", text + "logLevel: debug\n")
    async with started("-config", path) as program:
        assert (await program.chat("m")).status_code == 200
        await settled(lambda: "(env: FAKE_KEY)" in program.log())
        assert "--name [REDACTED]" in program.log()
        assert "hunter2" not in program.log()


STEPS = [
    "[DEBUG] process {pid}",
    "[DEBUG] <a> POST /v1/chat/completions goes to a local model",
    "[DEBUG] request 1 for <a> waits for a swap that begins with it",
    "[DEBUG] swap 1 to <a> begins, stopping nobody",
    "[DEBUG] swap 1 is done",
    "[DEBUG] request 1 has waited and is served now",
    "[DEBUG] <a> /v1/chat/completions: captured ",
    "[DEBUG] request 2 for <a> is served at once: the model is ready",
    "[DEBUG] swap 2 to <b> begins, stopping <a>",
    "[DEBUG] <a> cmdStop: ",
    "<b> (unload)",
]


async def test_debug_tells_each_step_of_the_scheduler(tmp_path: Path) -> None:
    more = "    cmdStop: 'kill ${PID}'\n"
    text = models(a=fake_command()) + more
    text += models(b=fake_command()).partition("models:\n")[2]
    async with started(
        "-config", write(tmp_path / "c.yaml", text + "logLevel: debug\nlogToStdout: both\n")
    ) as program:
        for model in ("a", "a", "b"):
            assert (await program.chat(model)).status_code == 200
        assert (await program.http.post("/api/models/unload")).status_code == 200

        def missing() -> list[str]:
            log = program.log()
            return [step for step in STEPS if step.format(pid=program.pid) not in log]

        with trio.move_on_after(15):
            while missing():
                await trio.sleep(0.02)
        assert missing() == []


# --- the endpoints --------------------------------------------------------------------------------


async def test_the_answers_heads_and_that_they_come_at_once(tmp_path: Path) -> None:
    text = models(m=fake_command("--say", "hello"))
    async with started("-config", write(tmp_path / "c.yaml", text)) as program:
        browser = await program.http.get("/logs", headers={"Accept": "text/html,*/*"})
        assert browser.status_code == 302
        assert browser.headers["location"].startswith("/ui/")
        plain = await program.http.get("/logs", headers=PLAIN)
        assert (plain.status_code, plain.headers["content-type"]) == (200, "text/plain")
        assert "listening on" in plain.text
        assert (await program.http.get("/logs/", headers=PLAIN)).status_code == 404
        posted = await program.http.post("/logs")
        assert posted.status_code == 405
        assert {word.strip() for word in posted.headers["allow"].split(",")} == {"GET", "HEAD"}
        head = await program.http.head("/logs/stream/proxy")
        assert (head.status_code, head.content) == (200, b"")
        for path in ("/logs/stream/m", "/logs/stream/proxy?no-history=false"):
            with trio.fail_after(20):
                async with program.http.stream("GET", path) as answer:
                    assert answer.status_code == 200
                    assert answer.headers["content-type"] == "text/plain"
                    assert answer.headers["x-content-type-options"] == "nosniff"
                    assert answer.headers["x-accel-buffering"] == "no"
                    assert answer.headers["transfer-encoding"] == "chunked"
                    assert "content-length" not in answer.headers
        assert (await program.chat("m")).status_code == 200
        async with following(program, "/logs/stream/proxy?no-history=false") as seen:
            assert (await program.http.get("/health")).status_code == 200
            await settled(lambda: b"GET /health" in seen)
            assert b"listening on" not in seen


async def test_a_client_that_leaves_is_forgotten(tmp_path: Path, nursery: trio.Nursery) -> None:
    hub = LogHub()
    app = ControlPlane("test", static_folder=None)
    around = SimpleNamespace(hub=hub, config=Config())
    log_routes.add_routes(app, around)  # type: ignore[arg-type]  # it touches nothing else
    path = str(tmp_path / "control.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    nursery.start_soon(serve_control_plane, app, listener)
    for _ in range(3):
        stream = await trio.open_unix_socket(path)
        await stream.send_all(b"GET /logs/stream HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200" in await stream.receive_some()
        assert hub.combined.followers == 1
        await stream.aclose()
        await settled(lambda: hub.combined.followers == 0)


# --- the access log -------------------------------------------------------------------------------


async def test_the_access_log_tells_who_asked_for_what(tmp_path: Path) -> None:
    text = models(m=fake_command()) + "apiKeys: [secret]\n"
    async with started("-config", write(tmp_path / "c.yaml", text)) as program:
        http = program.http
        key = {"Authorization": "Bearer secret"}
        cases = {
            '127.0.0.1 "GET /running HTTP/1.1" 401 ': http.build_request("GET", "/running"),
            '198.51.100.4 "GET /nope HTTP/1.1" 404 ': http.build_request(
                "GET", "/nope?secret=1", headers={"X-Forwarded-For": "198.51.100.4, 10.0.0.1"}
            ),
            '203.0.113.9 "GET /health HTTP/1.1" 200 2 "tester \\"1\\"" ': http.build_request(
                "GET", "/health", headers={"X-Real-IP": "203.0.113.9", "User-Agent": 'tester "1"'}
            ),
            '"GET /a\\n[INFO] fake HTTP/1.1" 404 ': http.build_request("GET", "/a%0A[INFO]%20fake"),
            '"POST /v1/chat/completions HTTP/1.1" 404 ': http.build_request(
                "POST", "/v1/chat/completions", json={"model": "x"}, headers=key
            ),
        }
        for request in cases.values():
            await http.send(request)
        for silent in ("/metrics", "/api/performance?after=x", "/wol-health"):
            await http.get(silent, headers=key)
        assert (await http.get("/v1/models", headers=key)).status_code == 200
        await settled(lambda: "GET /v1/models" in program.log())
        for line in cases:
            assert line in program.log(), line
        port = int(program.url.rsplit(":", 1)[1])
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(
                b"GET /upstream/m/ws HTTP/1.1\r\nHost: x\r\nX-Api-Key: secret\r\n"
                b"Connection: Upgrade\r\n"
                b"Upgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 101 ")
        await settled(lambda: '"GET /upstream/m/ws HTTP/1.1" 101 ' in program.log())
        lines = [line for line in program.log().splitlines() if "Request" in line]
        assert len(lines) == len(cases) + 2  # none for what is polled
        duration = r"(\d+h)?(\d+m)?[\d.]+(ns|µs|ms|s)"
        shape = rf'\[INFO\] Request \S+ "[A-Z]+ .* HTTP/1\.1" \d{{3}} \d+ ".*" {duration}'
        assert all(re.fullmatch(shape, line) for line in lines), lines
        assert "secret=1" not in program.log()


# --- silence and floods ---------------------------------------------------------------------------


COMMENT = b":\n\n"


async def test_T33_E06_streams_outlive_minutes_of_silence(tmp_path: Path) -> None:
    """The program's clock runs 40 times as fast."""
    text = models(m=fake_command("--say", "at last")) + "healthCheckTimeout: 3600\n"
    path = write(tmp_path / "c.yaml", text)
    async with started("-config", path, program=hasty(40)) as program:
        silent, spoken = "/logs/stream/m", "/api/events"
        async with following(program, silent) as log, following(program, spoken) as events:
            await settled(lambda: b'"inflight' in events)  # the last of the snapshots
            # a comment every 15 s of silence
            await settled(lambda: events.count(COMMENT) > 120 / 15)
            assert log == b""
            assert (await program.chat("m")).status_code == 200
            await settled(lambda: b"at last" in log)
            await settled(lambda: b"at last" in events)


async def test_T13_a_stalled_client_of_events_makes_no_records(tmp_path: Path) -> None:
    path = write(tmp_path / "c.yaml", models(m=fake_command()) + "logLevel: debug\n")
    count, long = 600, "/" + "x" * 7000
    async with started("-config", path) as program:
        port = int(program.url.rsplit(":", 1)[1])
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", port))
            client.sendall(b"GET /api/events HTTP/1.1\r\nHost: h\r\n\r\n")
            async with following(program, "/api/events?topics=logs") as reader:
                for _ in range(count):  # far more than is kept for anybody
                    assert (await program.http.get(long)).status_code == 404
                await settled(lambda: reader.count(b"GET /xxx") == count)
            assert (await program.http.get("/health")).status_code == 200
            await settled(lambda: "GET /health" in program.log())
            said = program.log().partition("listening on")[2].splitlines()[1:]
            records = [line for line in said if '"GET /' not in line]
            assert all("hardware" in r or "performance" in r for r in records), records
            client.setblocking(False)
            late = bytearray()

            def marked() -> bool:
                with suppress(BlockingIOError):
                    while data := client.recv(1 << 16):
                        late.extend(data)
                return b" bytes dropped " in late

            await settled(marked)


async def test_requests_pass_while_a_child_floods_its_log(tmp_path: Path) -> None:
    flooding, quiet = fake_command("--flood", "100000"), fake_command()
    text = (
        models(loud=flooding, quiet=quiet)
        + "groups: {g: {swap: false, members: [loud, quiet]}}\nlogToStdout: both\n"
    ).replace("  loud:\n", "  loud:\n    checkEndpoint: none\n    proxy: http://127.0.0.1:9\n")
    async with started("-config", write(tmp_path / "c.yaml", text)) as program:
        assert (await program.chat("quiet")).status_code == 200
        assert (await program.chat("loud")).status_code == 502  # it floods and serves nothing
        async with following(program, "/logs/stream/loud?no-history") as seen:
            await settled(lambda: len(seen) > 5_000_000)
            for _ in range(20):
                assert (await program.chat("quiet")).status_code == 200
            before = len(seen)
            await settled(lambda: len(seen) > before)  # it still does
