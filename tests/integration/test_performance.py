"""Cases T49-T53 of telemetry §9: the monitor inside the whole program."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio

from tests.integration.processes import fake_command, free_port, settled
from tests.integration.program import Program, started, write
from tests.integration.scripted import STATS, lact_answers, lact_daemon
from tests.unit.test_prometheus import of, parsed

MODELS = f"startPort: {free_port()}\nmodels:\n  m:\n    cmd: {fake_command()} --port ${{PORT}}\n"
NO_GPUS = {"LACT_DAEMON_SOCKET_PATH": "", "PATH": "/usr/bin:/bin"}


async def samples(program: Program, *, after: str = "") -> dict[str, Any]:
    answer = await program.http.get("/api/performance", params={"after": after} if after else {})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def first_samples(program: Program, series: str = "sys_stats") -> dict[str, Any]:
    with trio.fail_after(20):
        while True:
            found = await samples(program)
            if found[series]:
                return found
            await trio.sleep(0.05)


async def model_status(program: Program) -> dict[str, Any]:
    """The only model's entry in the first snapshot of the event stream."""
    with trio.fail_after(20):
        async with program.http.stream("GET", "/api/events") as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data:"):
                    message = json.loads(line.removeprefix("data:"))
                    if message["type"] == "modelStatus":
                        [entry] = json.loads(message["data"])
                        assert isinstance(entry, dict)
                        return entry
    raise AssertionError("the stream ended without modelStatus")


async def test_samples_of_the_machine_its_cards_and_its_models(tmp_path: Path) -> None:
    socket = tmp_path / "lactd.sock"
    env = {"LACT_DAEMON_SOCKET_PATH": str(socket)}
    async with lact_daemon(socket, lact_answers(one=STATS, two=STATS)):
        async with started("-config", write(tmp_path / "c.yaml", MODELS), env=env) as program:
            found = await first_samples(program, "gpu_stats")
            found = await first_samples(program)
            assert found["enabled"] is True
            assert [(card["id"], card["uuid"]) for card in found["gpu_stats"]] == [
                (0, "one"),
                (1, "two"),
            ]
            assert found["gpu_sources"] == ["LACT"]
            assert "GPU monitoring by LACT: 2 found" in program.log()
            assert found["sys_stats"][0]["mem_total_mb"] > 0

            last = found["sys_stats"][-1]["timestamp"]
            again = await samples(program, after=last)
            assert again["sys_stats"] == []
            unescaped = await program.http.get(f"/api/performance?after={last}")  # `+` as it is
            assert unescaped.json()["sys_stats"] == []

            assert (await program.chat("m")).status_code == 200
            with trio.fail_after(20):
                while not (later := await samples(program, after=last))["sys_stats"]:
                    await trio.sleep(0.1)
            [model] = later["models"]
            assert (model["model"], model["vram_mb"]) == ("m", None)
            assert "does not tell memory by process" in model["vram_reason"]
            assert model["rss_mb"] > 0
            status = await model_status(program)
            assert status["rss_mb"] == model["rss_mb"]
            assert (status["vram_mb"], status["vram_reason"]) == (None, model["vram_reason"])
            bad = await program.http.get("/api/performance?after=yesterday")
            assert bad.status_code == 400
            assert bad.json()["error"]["message"] == (
                "invalid 'after' timestamp, use RFC3339 format"
            )
        assert '"GET /api/performance' not in program.log()


async def test_a_machine_without_cards_says_so_once(tmp_path: Path) -> None:
    async with started("-config", write(tmp_path / "c.yaml", MODELS), env=NO_GPUS) as program:
        found = await first_samples(program)
        await settled(lambda: "GPU monitoring" in program.log())
        if "GPU monitoring by" in program.log():
            pytest.skip("this machine has graphics cards")
        assert found["gpu_stats"] == []
        found = await samples(program)
        assert "LACT" in found["gpu_reason"]
        assert program.log().count("GPU monitoring not available") == 1


async def test_a_reload_switches_it_on_and_off(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    off = MODELS + "performance: {disabled: true}\n"
    async with started("-config", write(path, off), env=NO_GPUS) as program:

        async def reload(text: str) -> None:
            before = program.log().count("configuration reloaded")
            write(path, text)
            program.process.send_signal(signal.SIGHUP)
            await settled(lambda: program.log().count("configuration reloaded") > before)

        async def status() -> int:
            return (await program.http.get("/api/performance")).status_code

        metrics = await program.http.get("/metrics")
        assert (metrics.status_code, metrics.text) == (503, "# performance monitor not available\n")
        answer = await program.http.get("/api/performance?after=nonsense")
        assert (answer.status_code, answer.json()) == (503, {"enabled": False})
        assert "performance monitoring is disabled" in program.log()
        await reload(MODELS)
        await first_samples(program)
        write(path, "models: [broken")
        program.process.send_signal(signal.SIGHUP)
        await settled(lambda: "reload failed" in program.log())
        assert await status() == 200  # nothing of a bad file is applied
        await reload(off)
        assert await status() == 503


async def test_metrics_of_a_program_at_work(tmp_path: Path) -> None:
    text = MODELS + f"  n:\n    cmd: {fake_command('--exit-after', '0')}\n    proxy: http://h:1\n"
    async with started("-config", write(tmp_path / "c.yaml", text), env=NO_GPUS) as program:
        assert (await program.chat("m")).status_code == 200
        assert (await program.chat("n")).status_code == 500
        assert (await program.chat("nobody")).status_code == 404
        assert (await program.chat("m")).status_code == 200
        await first_samples(program)
        answer = await program.http.get("/metrics")
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert (await program.http.head("/metrics")).status_code == 200
        found = parsed(answer.text)
        expected = {
            of("llamaswap_requests_total", model="m", code="200"): 2,
            of("llamaswap_requests_total", model="n", code="500"): 1,
            of("llamaswap_swaps_total", model="n", reason="evict"): 1,
            of("llamaswap_swaps_total", model="m", reason="free"): 2,
            of("llamaswap_model_stops_total", model="m", reason="evict"): 1,
            of("llamaswap_model_stops_total", model="n", reason="exit"): 1,
            of("llamaswap_model_failed_loads_total", model="n"): 1,
            of("llamaswap_model_load_seconds_count", model="m"): 2,
            of("llamaswap_request_wait_seconds_count", model="m"): 2,
            of("llamaswap_model_state", model="m", state="ready"): 1,
        }
        assert {key: found.get(key) for key in expected} == expected
        memory = found[of("llamaswap_memory_total_bytes")]
        assert memory == psutil.virtual_memory().total // 2**20 * 2**20
        assert '"GET /metrics' not in program.log()
