"""No secret leaves, files are private, an open door is pointed out. Source: issue, security."""

from __future__ import annotations

import base64
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import trio

from llamaswap.cli import main
from llamaswap.proxy.routes import MANAGEMENT
from tests.integration.processes import fake_command, free_ports, settled
from tests.integration.program import Program, started, write

KEY = "PLANTED-key-of-a-client"
PLANTED = {
    "key": KEY,
    "peer key": "PLANTED-key-of-a-peer",
    "flag": "PLANTED-value-of-a-flag",
    "environment of a model": "PLANTED-value-in-env",
    "environment of ours": "PLANTED-value-of-a-variable",
    "password in a URL": "PLANTED-password",
    "wrong key": "PLANTED-wrong-key",
    "wrong Basic password": "PLANTED-wrong-basic",
    "cookie": "PLANTED-cookie",
}
BASIC = base64.b64encode(f"me:{PLANTED['wrong Basic password']}".encode()).decode()
CONFIG = f"""
logLevel: debug
apiKeys:
  - {KEY}
models:
  good:
    cmd: {fake_command("--name")} "${{env.PLANTED_NAME}}" --port ${{PORT}}
    env: ["HF_TOKEN={PLANTED["environment of a model"]}"]
  missing:
    cmd: /nowhere/server --api-key {PLANTED["flag"]} --port ${{PORT}}
    env: ["PASSWORD={PLANTED["environment of a model"]}"]
  dies:
    cmd: {sys.executable} -c "raise SystemExit(3)" --hf-token {PLANTED["flag"]} --port ${{PORT}}
peers:
  far:
    proxy: http://user:{PLANTED["password in a URL"]}@127.0.0.1:9
    apiKey: {PLANTED["peer key"]}
    models: [distant]
"""
HEADERS = {"Authorization": f"Bearer {KEY}", "Cookie": f"session={PLANTED['cookie']}"}


def searched(where: str, text: str) -> None:
    """Fail if any planted secret stands in `text`, plain or in Base64."""
    for name, secret in PLANTED.items():
        for form in (secret, base64.b64encode(secret.encode()).decode().rstrip("=")):
            assert form not in text, f"the {name} stands in {where}"
    assert BASIC not in text, f"a Basic credential stands in {where}"


async def everything_said(program: Program) -> dict[str, str]:
    """What every GET route of the management answers, by path."""
    told: dict[str, str] = {}
    for route in MANAGEMENT:
        if "GET" not in route.methods or route.path.endswith("…") or route.path == "/unload":
            continue
        text = bytearray()
        with trio.move_on_after(1.0):  # events and logs never end
            async with program.http.stream("GET", route.path, headers=HEADERS) as answer:
                async for data in answer.aiter_raw():
                    text += data
        told[route.path] = text.decode("utf-8", "replace")
    for source in ("proxy", "upstream", "good", "missing"):
        answer = await program.http.get(f"/logs/stream/{source}?no-follow", headers=HEADERS)
        told[f"log of {source}"] = answer.text
    return told


@pytest.fixture
async def program(tmp_path: Path) -> AsyncIterator[Program]:
    text = f"startPort: {free_ports()}\n{CONFIG}"
    env = {"PLANTED_NAME": "harmless", "OTHER": PLANTED["environment of ours"]}
    async with started("-config", write(tmp_path / "c.yaml", text), env=env) as running:
        yield running


async def test_nothing_the_program_says_holds_a_planted_secret(
    program: Program, tmp_path: Path
) -> None:
    http = program.http
    ask = {"messages": [{"role": "user", "content": "hi"}]}
    for model in ("good", "missing", "dies", "distant", "nobody"):
        answer = await http.post(
            "/v1/chat/completions", json={"model": model, **ask}, headers=HEADERS
        )
        if model == "good":
            assert answer.status_code == 200
            continue  # the body is the server's own: what it was sent
        assert answer.status_code >= 400
        searched(f"the answer for {model}", answer.text)
    for wrong in (
        {"Authorization": f"Bearer {PLANTED['wrong key']}"},
        {"x-api-key": PLANTED["wrong key"]},
        {"Authorization": f"Basic {BASIC}"},
    ):
        answer = await http.get("/running", headers=wrong)
        assert answer.status_code == 401
        searched("the refusal of a key", answer.text + str(answer.headers))
    broken = CONFIG.replace(f"  - {KEY}", f"  - '{KEY} with blanks'\n  - [{KEY}]")
    (tmp_path / "c.yaml").write_text(broken + f"nonsense: {KEY}\n")
    program.process.send_signal(signal.SIGHUP)
    await settled(lambda: "reload failed" in program.log())
    for where, text in (await everything_said(program)).items():
        searched(where, text)
    searched("stdout", program.log())


@pytest.mark.parametrize("how", ["-check-config", "-print-config"])
def test_the_command_line_shows_no_secret(
    how: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED_NAME", "harmless")
    for text in (CONFIG, CONFIG.replace(f"  - {KEY}", f"  - [{KEY}]\n  - ' {KEY}'")):
        path = write(tmp_path / "c.yaml", text)
        main(["-config", path, how])
        main(["check", "-config", path])
        shown = capfd.readouterr()
        searched(how, shown.out + shown.err)


@pytest.mark.parametrize(
    ("listen", "keys", "warns"),
    [("0.0.0.0:0", False, True), (":0", False, True), ("0.0.0.0:0", True, False),
     ("127.0.0.1:0", False, False), ("localhost:0", False, False)],
)  # fmt: skip
async def test_an_open_door_is_pointed_out_loudly(
    listen: str, keys: bool, warns: bool, tmp_path: Path
) -> None:
    text = "models: {}\n" + ("apiKeys: [k]\n" if keys else "")
    async with started("-config", write(tmp_path / "c.yaml", text), listen=listen) as program:
        assert ("[WARN] NO API KEY" in program.log()) is warns
        if warns:
            assert "-listen localhost:" in program.log()


async def test_the_control_socket_is_out_of_others_reach(tmp_path: Path) -> None:
    env = {"TMPDIR": str(tmp_path)}
    async with started("-config", write(tmp_path / "c.yaml", "models: {}\n"), env=env) as program:
        assert (await program.http.get("/api/version")).status_code == 200
        [socket] = tmp_path.glob("llamaswap-*/control.sock")
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
        assert socket.parent.stat().st_uid == os.getuid()
    assert list(tmp_path.glob("llamaswap-*")) == []


async def test_the_activity_database_is_private(tmp_path: Path) -> None:
    database = tmp_path / "activity.db"
    model = f"models:\n  m:\n    cmd: {fake_command()} --port ${{PORT}}\n"
    text = f"startPort: {free_ports()}\nstore:\n  path: {database}\n{model}"
    async with started("-config", write(tmp_path / "c.yaml", text)) as program:
        assert (await program.chat("m")).status_code == 200
        await settled(database.exists)
        for path in tmp_path.glob("activity.db*"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


async def test_a_page_of_another_site_changes_nothing(tmp_path: Path) -> None:
    async with started("-config", write(tmp_path / "c.yaml", "models: {}\n")) as program:
        evil = {"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example"}
        for path in ("/api/models/unload", "/api/models/unload/m"):
            assert (await program.http.post(path, headers=evil)).status_code == 403
        async with httpx.AsyncClient(base_url=program.url, trust_env=False) as http:
            assert (await http.get("/unload", headers=evil)).status_code == 403
