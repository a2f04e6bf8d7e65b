"""Every command that README and docs show is run, as far as this machine can run it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from llamaswap.cli import main
from tests.documents import ROOT, commands
from tests.integration.processes import fake_command, free_ports
from tests.integration.program import Program, started, write
from tests.integration.tiny_gguf import write_tiny_gguf

OURS = ("llamaswap", "llama-swap", "python -m llamaswap")
TOOLS = {"wol-proxy": "llamaswap.wol_proxy", "vllm-wrapper": "llamaswap.vllm_wrapper"}
TRIED_ELSEWHERE = ("uv build", "uv tool install", "pipx install", "pip install")
"""tests/integration/test_wheel.py"""
NEED_A_MACHINE = ("sudo", "systemctl", "journalctl", "docker", "podman", "kill")
"""Root, systemd or a container runtime: their syntax and the files they name are checked."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with what the guides take for granted: models, a configuration, llama-server."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "models").mkdir()
    write_tiny_gguf(folder / "models" / "tiny.gguf", 1)
    (folder / "bin").mkdir()
    server = folder / "bin" / "llama-server"
    server.write_text("#!/bin/sh\nexit 0\n")
    server.chmod(0o755)
    write(folder / "config.yaml", f"startPort: {free_ports()}\n{MODELS}")
    (folder / "config.yaml").chmod(0o640)
    return folder


MODELS = f"""models:
  qwen:
    cmd: {fake_command("--say", "hello")} --port ${{PORT}}
  demo-small:
    cmd: {sys.executable} -m llamaswap.demo --port ${{PORT}} --model demo-small
"""


@pytest.fixture
async def program(tmp_path: Path) -> AsyncIterator[Program]:
    text = f"startPort: {free_ports()}\n{MODELS}"
    async with started("-config", write(tmp_path / "c.yaml", text)) as running:
        yield running


def kind(command: str) -> str:
    """How a command is tried."""
    if command.startswith((*OURS, *TOOLS)):
        return "ours"
    for name, prefixes in (
        ("elsewhere", TRIED_ELSEWHERE), ("machine", NEED_A_MACHINE), ("curl", ("curl ",)),
        ("make", ("make ",)),
    ):  # fmt: skip
        if command.startswith(prefixes):
            return name
    return "unknown"


SHOWN = list(commands())


def of_kind(wanted: str) -> list[object]:
    return [pytest.param(text, id=place) for place, text in SHOWN if kind(text) == wanted]


def test_every_command_is_of_a_kind_that_is_tried() -> None:
    assert [(place, text) for place, text in SHOWN if kind(text) == "unknown"] == []
    assert len(of_kind("ours")) > 10


@pytest.mark.parametrize("text", of_kind("machine") + of_kind("elsewhere"))
def test_what_needs_root_or_a_daemon_parses_and_names_files_that_exist(text: str) -> None:
    done = subprocess.run(["bash", "-n", "-c", text], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    for word in shlex.split(text):
        if word.startswith(("packaging/", "docs/")):
            assert (ROOT / word).exists(), word


@pytest.mark.parametrize("text", of_kind("make"))
def test_make_knows_its_targets(text: str) -> None:
    words = shlex.split(text, comments=True)
    targets = [word for word in words[1:] if "=" not in word]
    rules = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(targets) <= set(rules)


def our_words(text: str) -> list[str]:
    """The command's words behind the program; redirections are the shell's business."""
    text = re.sub(r"\s+>\s+\S+$", "", text)
    words = shlex.split(text, comments=True)
    return words[3:] if words[0] == "python" else words[1:]


def prepared(text: str, home: Path) -> list[str]:
    """The words as this test runs them: in its home, and without questions."""
    words = [
        word.replace("~", str(home), 1) if word[0] == "~" else word for word in our_words(text)
    ]
    if words[:1] == ["init"]:
        words.append("-force")
    if words[:1] == ["bench"]:
        words = ["demo-small" if word == "qwen" else word for word in words]
    return words


def is_endless(text: str) -> bool:
    """Whether it runs until it is interrupted."""
    return bool({"-f", "-watch"} & set(our_words(text)))


def serves(text: str) -> bool:
    """Whether it listens until it is told to stop."""
    words = our_words(text)
    if text.startswith(tuple(TOOLS)):
        return words[:1] != ["sleep"]
    return not words or (words[0].startswith("-") and not CHECKS & set(words))


CHECKS = {"-check-config", "-print-config", "-version"}


async def test_our_commands_do_what_the_guides_say(
    home: Path,
    program: Program,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", f"{home / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("LLAMASWAP_URL", program.url)
    monkeypatch.chdir(home)
    assert (await program.http.get("/upstream/qwen/health")).status_code == 200
    for place, text in SHOWN:
        if kind(text) == "ours" and not is_endless(text) and not serves(text):
            with trio.fail_after(60):
                code = await trio.to_thread.run_sync(main, prepared(text, home))
            assert code == 0, f"{place}: {text}: {capfd.readouterr()}"


async def ended(command: list[str], began: bytes, stop: signal.Signals, env: dict[str, str]) -> int:
    """Run until `began` is seen, stop it, return the exit code."""
    process = await trio.lowlevel.open_process(
        command, env={**os.environ, **env}, cwd=env["HOME"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    output = bytearray()
    stopped = False
    try:
        with trio.fail_after(60):
            async for data in process.stdout:
                output += data
                if began in output and not stopped:
                    process.send_signal(stop)
                    stopped = True
            code = await process.wait()
    finally:
        with trio.CancelScope(shield=True):
            if process.poll() is None:
                process.kill()
                await process.wait()
            await process.stdout.aclose()
    assert stopped, output.decode()
    return code


async def test_what_the_guides_start_starts_and_what_follows_follows(
    home: Path, program: Program
) -> None:
    assert (await program.http.get("/upstream/qwen/health")).status_code == 200
    env = {
        "HOME": str(home),
        "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "LLAMASWAP_URL": program.url,
    }
    seen = set()
    for place, text in SHOWN:
        if kind(text) != "ours" or not (serves(text) or is_endless(text)):
            continue
        words = prepared(text, home)
        if "-listen" in words:
            words[words.index("-listen") + 1] = "127.0.0.1:0"
        module = TOOLS.get(shlex.split(text)[0], "llamaswap")
        command = [sys.executable, "-m", module, *words]
        if tuple(command) in seen:  # several guides start it in the same way
            continue
        seen.add(tuple(command))
        if serves(text):
            assert await ended(command, b"listening on", signal.SIGTERM, env) == 0, place
        else:
            assert await ended(command, b"", signal.SIGINT, env) == 130, place


@pytest.mark.parametrize("text", of_kind("curl"))
async def test_curl_gets_an_answer(text: str, program: Program) -> None:
    words = shlex.split(text.replace("http://localhost:8080", program.url), comments=True)
    done = await trio.run_process(
        [*words, "-sSf", "--max-time", "30"], capture_stdout=True, capture_stderr=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
