"""Commands against the running program, as an operator uses them."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import trio

from llamaswap.cli import main
from tests.integration.processes import fake_command, free_port, free_ports, settled
from tests.integration.program import Program, command, demo_config, started, write
from tests.integration.tiny_gguf import write_tiny_gguf

LLAMA_SERVER = Path(__file__).with_name("llama_server.py")

CONFIG = f"""
apiKeys: [key-1]
models:
  m:
    cmd: {fake_command("--say", "hello-from-m")} --port ${{PORT}}
    aliases: [vendor/m]
  other:
    cmd: {fake_command()} --port ${{PORT}}
  broken:
    cmd: /nowhere/server --port ${{PORT}}
    unlisted: true
"""

TWO_MISTAKES = """
models:
  a:
    cmd: x ${PORT}
    ttl: x
  b:
    cmd: x ${PORT}
    ttl: y
"""


@pytest.fixture
async def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Program]:
    text = f"startPort: {free_ports()}\n{CONFIG}"
    async with started("-config", write(tmp_path / "c.yaml", text)) as running:
        monkeypatch.setenv("LLAMASWAP_URL", running.url)
        monkeypatch.setenv("LLAMASWAP_API_KEY", "key-1")
        running.http.headers["Authorization"] = "Bearer key-1"
        yield running


async def call(*words: str) -> int:
    """Run a command in this process, in a thread of its own."""
    return await trio.to_thread.run_sync(main, list(words))


async def test_load_status_logs_and_unload(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await call("load", "vendor/m") == 0
    assert "vendor/m is ready" in capsys.readouterr().out
    assert await program.running() == {"m": "ready"}

    assert await call("status", "-json") == 0
    told = json.loads(capsys.readouterr().out)
    states = {model["id"]: model["state"] for model in told["models"]}
    assert (states["m"], states["other"], states["broken"]) == ("ready", "stopped", "stopped")
    assert {model["requests"] for model in told["models"]} == {0}
    assert not any("requests" in reason for reason in told["missing"])
    assert await call("status") == 0
    shown = capsys.readouterr().out
    assert "MODEL" in shown
    assert "ready" in shown
    assert program.url in shown

    assert await call("logs", "vendor/m") == 0
    assert "hello-from-m" in capsys.readouterr().out
    assert await call("logs") == 0
    assert "GET /upstream/" in capsys.readouterr().out

    assert await call("unload", "m") == 0
    assert await program.running() == {}
    assert await call("load", "-json", "other") == 0
    assert await call("unload") == 0
    assert await program.running() == {}
    assert await call("completion-models") == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["m", "other"]


async def test_what_cannot_be_done_is_said_with_exit_code_1(
    program: Program, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await call("load", "broken") == 1
    assert "/nowhere/server: no such file" in capsys.readouterr().err
    assert await call("load", "nobody") == 1
    assert "answered 404" in capsys.readouterr().err
    assert await call("unload", "nobody") == 1
    assert "model not found" in capsys.readouterr().err
    assert await call("logs", "nobody") == 1
    assert "invalid logger" in capsys.readouterr().err
    assert await call("status", "-api-key", "wrong") == 1
    assert "LLAMASWAP_API_KEY" in capsys.readouterr().err
    monkeypatch.setenv("LLAMASWAP_URL", f"http://127.0.0.1:{free_port()}")
    for words in (["status"], ["load", "m"], ["unload"], ["logs"], ["logs", "-f"]):
        assert await call(*words) == 1
        assert "Is llamaswap running there?" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["ftp://x", "http://", ""])
def test_an_address_that_is_none_is_a_usage_error(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", f"-url={url}"]) == 2
    assert "is no http:// or https:// address" in capsys.readouterr().err


async def test_logs_follow_until_interrupted(program: Program) -> None:
    process = await trio.lowlevel.open_process(
        command("logs", "-f", "m"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    seen = bytearray()
    async with trio.open_nursery() as nursery:

        async def read(stream: trio.abc.ReceiveStream) -> None:
            async for data in stream:
                seen.extend(data)

        nursery.start_soon(read, process.stdout)
        await settled(lambda: "GET /logs/stream/m" not in program.log())
        assert (await program.chat("m")).status_code == 200
        await settled(lambda: b"hello-from-m" in seen)
        process.send_signal(signal.SIGINT)
        with trio.fail_after(20):
            assert await process.wait() == 130
    assert process.stderr is not None
    assert await process.stderr.receive_some() == b""
    await process.stdout.aclose()
    await process.stderr.aclose()


@pytest.mark.parametrize(("flags", "ready"), [((), b" ready "), (("-json",), b'"state":"ready"')])
async def test_status_watches_until_interrupted(
    program: Program, flags: tuple[str, ...], ready: bytes
) -> None:
    process = await trio.lowlevel.open_process(
        command("status", "-watch", *flags, "-every", "100ms"), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    seen = bytearray()
    async with trio.open_nursery() as nursery:

        async def read(stream: trio.abc.ReceiveStream) -> None:
            async for data in stream:
                seen.extend(data)

        nursery.start_soon(read, process.stdout)
        await settled(lambda: seen.count(b"\n") >= 2)
        assert (await program.chat("m")).status_code == 200
        await settled(lambda: ready in seen)
        process.send_signal(signal.SIGINT)
        with trio.fail_after(20):
            assert await process.wait() == 130
    await process.stdout.aclose()


async def test_a_reader_that_leaves_is_no_error(program: Program) -> None:
    words = shlex.join(command("status", "-watch", "-json", "-every=100ms"))
    done = await trio.run_process(
        ["bash", "-c", f"{words} | head -n 1; exit ${{PIPESTATUS[0]}}"],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["url"] == program.url


async def test_check_finds_what_would_not_run(
    program: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "check.yaml"
    missing = tmp_path / "model.gguf"
    write(
        path,
        f"startPort: {free_ports()}\nmodels:\n"
        f"  good: {{cmd: '{sys.executable} --port ${{PORT}}'}}\n"
        f"  nofile: {{cmd: '{sys.executable} -m {missing}'}}\n".replace(
            "nofile: {cmd:", "nofile: {proxy: 'http://127.0.0.1:9', cmd:"
        )
        + f"  names: {{proxy: 'http://127.0.0.1:9', cmd: '{sys.executable} --model Qwen/Q'}}\n"
        + f"  tilde: {{proxy: 'http://127.0.0.1:9', cmd: '{sys.executable} -m ~/x.gguf'}}\n"
        + "  noprogram: {cmd: 'no-such-program-here --port ${PORT}'}\n",
    )
    path.chmod(0o666)
    assert await call("check", "-config", str(path), "-json") == 1
    told = json.loads(capsys.readouterr().out)
    found = {(item["topic"], item["verdict"]): item["text"] for item in told["findings"]}
    assert told["ok"] is False
    assert ("model good", "ok") in found
    assert str(missing) in found["model nofile", "fail"]
    assert "no-such-program-here" in found["model noprogram", "fail"]
    assert ("model names", "fail") not in found
    assert "expands ~" in found["model tilde", "fail"]
    assert "chmod go-w" in found["configuration", "warn"]
    assert ("ports", "ok") in found
    assert "no model runs" in found[f"instance {program.url}", "ok"]


async def test_check_reports_all_problems_and_a_missing_instance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(
        tmp_path / "c.yaml",
        TWO_MISTAKES + "globalTLL: 3\n",
    )
    url = f"http://127.0.0.1:{free_port()}"
    assert await call("check", "-config", path, "-url", url) == 1
    shown = capsys.readouterr().out
    assert "models.a.ttl" in shown
    assert "models.b.ttl" in shown
    assert "did you mean 'globalTTL'?" in shown
    assert "Is llamaswap running there?" in shown


async def test_check_sees_a_taken_port(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = f"startPort: {port}\nmodels: {{a: {{cmd: '{sys.executable} ${{PORT}}'}}}}\n"
        path = write(tmp_path / "c.yaml", text)
        assert await call("check", "-config", path, "-json") == 1
    told = json.loads(capsys.readouterr().out)
    [ports] = [item for item in told["findings"] if item["topic"] == "ports"]
    assert ports["verdict"] == "fail"
    assert f"{port} (a)" in ports["text"]


async def test_bench_reports_figures_and_failures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with started("-config", demo_config(tmp_path)) as program:
        flags = ["bench", "-baseurl", f"{program.url}/v1", "-json", "-par", "2", "-requests", "4"]
        assert await call(*flags, "-model", "demo-small", "-max-tokens", "3", "-stream") == 0
        told = json.loads(capsys.readouterr().out)
        assert told["statuses"] == {"200": 4}
        assert told["requests_per_s"] > 0
        assert 0 < told["first_byte_ms"]["p50"] <= told["latency_ms"]["max"]
        assert await call("bench", "-url", program.url, "-model", "nobody") == 1
        assert "status 404" in capsys.readouterr().out
    assert await call("bench", "-model", "m", "-par", "0") == 2
    assert await call("bench") == 2


async def test_fake_model_loads_answers_and_leaves() -> None:
    port = free_port()
    process = await trio.lowlevel.open_process(
        command("fake-model", "-port", str(port), "-tokens", "5", "-tps", "1000", "-load", "300ms"),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert b"listens on" in await process.stdout.receive_some()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
        assert (await http.get("/health")).status_code == 503
        with trio.fail_after(20):
            while (await http.get("/health")).status_code != 200:
                await trio.sleep(0.05)
        answer = await http.post("/v1/chat/completions", json={"messages": []})
        assert answer.json()["usage"]["completion_tokens"] == 5
    process.send_signal(signal.SIGTERM)
    with trio.fail_after(20):
        assert await process.wait() == 0
    await process.stdout.aclose()


async def test_init_writes_a_configuration_and_models_dir_serves_the_folder_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    write_tiny_gguf(models / "tiny-F32.gguf", 1)
    server = tmp_path / "bin" / "llama-server"
    server.parent.mkdir()
    server.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {LLAMA_SERVER} "$@"\n')
    server.chmod(0o755)
    monkeypatch.setenv("PATH", f"{server.parent}:{os.environ['PATH']}")
    output = tmp_path / "made.yaml"
    words = ("init", str(models), "-output", str(output))
    assert await call(*words) == 0
    assert "1 models" in capsys.readouterr().out
    assert await call(*words) == 1
    assert "-force" in capsys.readouterr().err
    assert await call(*words, "-force") == 0
    assert await call("init", str(models), "-output", "-") == 0
    assert output.read_text() in capsys.readouterr().out
    assert await call("init", str(tmp_path / "nowhere")) == 1

    async with started("-config", str(output)) as program:
        answer = await program.chat("tiny", max_tokens=2)
        assert answer.json()["usage"]["completion_tokens"] == 2
    async with started("-models-dir", str(models)) as program:
        assert (await program.chat("tiny", max_tokens=2)).status_code == 200
        [pid] = program.model_pids()
        write_tiny_gguf(models / "second.gguf", 2)
        program.process.send_signal(signal.SIGHUP)
        await settled(lambda: "configuration reloaded" in program.log())
        assert (await program.chat("second", max_tokens=1)).status_code == 200
        assert pid in program.model_pids()


@pytest.mark.parametrize("flag", ["-config=x", "-config-dir=x", "-watch-config"])
def test_models_dir_goes_with_no_other_source(
    flag: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["-models-dir", str(tmp_path), flag]) == 1
    assert "-models-dir" in capsys.readouterr().err


async def test_monitor_measures_this_machine(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(
        "#!/bin/sh\nwhile true; do\n"
        "echo '0, NVIDIA L40S, GPU-1, 54, 37, 12288, 46068, [N/A], 181.42'\nsleep 1; done\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert await call("monitor", "-json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["system"]["mem_total_mb"] > 0
    assert [gpu["name"] for gpu in told["gpus"]] == ["NVIDIA L40S"]
    assert len(told["gpu_sources"]) == 1
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert await call("monitor") == 0
    shown = capsys.readouterr().out
    assert "memory, MiB" in shown


def complete_in_bash(script: str, *words: str) -> list[str]:
    line = shlex.join(words)
    code = (
        f"{script}\nCOMP_WORDS=({line} ''); COMP_CWORD={len(words)}; _llamaswap;"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


async def test_bash_completes_commands_flags_and_models(
    program: Program, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert await call("completion", "bash") == 0
    script = capsys.readouterr().out
    here = tmp_path / "llamaswap"
    here.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m llamaswap "$@"\n')
    here.chmod(0o755)
    assert {"status", "-config"} <= set(complete_in_bash(script, "llamaswap"))
    assert {"-watch", "-json"} <= set(complete_in_bash(script, "llamaswap", "status"))
    offered = await trio.to_thread.run_sync(complete_in_bash, script, str(here), "load")
    assert {"m", "other", "-url"} <= set(offered)


@pytest.mark.parametrize("shell", ["zsh", "fish", "bash"])
def test_completion_scripts_parse(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "status" in script
    assert script.count("'") % 2 == 0
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed, so its script was only looked at")
    done = subprocess.run([program, "-n"], input=script, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_environment_is_what_tests_expect() -> None:
    assert "LLAMASWAP_URL" not in os.environ
