"""Why a model was swapped, seen by an operator. Source: scheduling §2.10."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from tests.integration.processes import fake_command, free_port
from tests.integration.program import started, write

TWO_MODELS = f"""
startPort: {free_port()}
models:
  a:
    cmd: {fake_command()} --port ${{PORT}}
  b:
    cmd: {fake_command()} --port ${{PORT}}
"""


async def test_each_swap_is_one_record_and_one_log_line_with_who_why_and_how_long(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "config.yaml", TWO_MODELS)
    async with started("-config", path) as program:
        assert (await program.http.get("/api/decisions")).json() == {"decisions": []}
        for name in ("a", "b"):
            assert (await program.chat(name)).status_code == 200
        first, second = (await program.http.get("/api/decisions")).json()["decisions"]
        assert datetime.fromisoformat(first["time"]) <= datetime.fromisoformat(second["time"])
        assert (first["kind"], first["model"], first["evicted"]) == ("swap", "a", [])
        assert (second["kind"], second["model"], second["evicted"]) == ("swap", "b", ["a"])
        assert second["reason"] == "a is idle"
        assert second["waiters"] == 1
        assert second["estimate"] > 0
        [last] = (await program.http.get("/api/decisions?limit=1")).json()["decisions"]
        assert last == second
        refused = await program.http.get("/api/decisions?limit=many")
        assert refused.status_code == 400
        assert "limit" in refused.text
        lines = [line for line in program.log().splitlines() if "swap to <b>" in line]
        assert len(lines) == 1
        assert "stopping <a>: 1 request waits, the oldest for 0.0 s; because a is idle" in lines[0]
