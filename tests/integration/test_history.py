"""What models did lately, told by the running program. Source: web-ui §0.1."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tests.integration.processes import free_ports
from tests.integration.program import started, write

FAKE = Path(__file__).parent / "fake_upstream.py"


def one_model(*flags: str) -> str:
    command = " ".join([sys.executable, str(FAKE), "--port ${PORT}", *flags])
    return f"startPort: {free_ports()}\nmodels:\n  m:\n    cmd: {command}\n    ttl: 60\n"


async def events(http: Any) -> list[dict[str, Any]]:
    got: list[dict[str, Any]] = (await http.get("/api/events/history")).json()["events"]
    return got


async def test_loads_and_stops_are_remembered_with_their_reason(tmp_path: Path) -> None:
    async with started("-config", write(tmp_path / "c.yaml", one_model())) as program:
        assert await events(program.http) == []
        assert (await program.chat("m")).status_code == 200
        await program.http.get("/unload")
        told = [(event["state"], event.get("reason")) for event in await events(program.http)]
        assert told == [
            ("starting", None),
            ("ready", None),
            ("stopping", "unload"),
            ("stopped", "unload"),
        ]
        limited = (await program.http.get("/api/events/history?limit=1&model=m")).json()["events"]
        assert [event["state"] for event in limited] == ["stopped"]
        assert (await program.http.get("/api/events/history?limit=x")).status_code == 400


async def test_a_failed_start_says_why_and_with_which_code(tmp_path: Path) -> None:
    text = one_model("--exit-after 0", "--exit-code 3", "--say it-broke", "--health 503")
    async with started("-config", write(tmp_path / "c.yaml", text)) as program:
        assert (await program.chat("m")).status_code == 500
        last = (await events(program.http))[-1]
        assert (last["state"], last["exit_code"]) == ("stopped", 3)
        assert "it-broke" in last["reason"]
