"""What `GET /api/config` tells. Source: web-ui §1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llamaswap.api.configuration import facts
from llamaswap.config.live import Attempt, LiveConfig
from llamaswap.config.load import load_config
from llamaswap.config.problems import Place, Problem

BASE = "apiKeys: [sk-client]\nglobalTLL: 3\nmodels:\n  a: {cmd: 's ${PORT}'}\n"
MORE = "models:\n  'b:c': {cmd: 's ${PORT} --api-key sk-flag'}\npeers:\n  p: {proxy: 'http://h', models: [m], apiKey: sk-peer}\n"  # noqa: E501  # as a file has it


def live(folder: Path) -> LiveConfig:
    (folder / "d").mkdir()
    (folder / "base.yaml").write_text(BASE)
    (folder / "d" / "more.yaml").write_text(MORE)
    loaded = load_config(folder / "base.yaml", folder / "d", environ={})
    return LiveConfig(loaded, loaded_at=1_700_000_000.25, watching=True)


def told(state: LiveConfig) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(json.dumps(facts(state)))
    return result


def test_everything_comes_with_the_file_and_line_it_was_written_in(tmp_path: Path) -> None:
    shown = told(live(tmp_path))
    base, more = str(tmp_path / "base.yaml"), str(tmp_path / "d" / "more.yaml")
    assert shown["sources"] == [base, more]
    assert shown["origins"] == {
        "apiKeys": {"file": base, "line": 1},
        "globalTLL": {"file": base, "line": 2},
        "models": {"file": base, "line": 3},
        "models.a": {"file": base, "line": 4},
        "models.b:c": {"file": more, "line": 2},
        "peers": {"file": more, "line": 3},
        "peers.p": {"file": more, "line": 4},
    }
    assert shown["warnings"] == [
        {
            "code": "W-UNKNOWN-KEY",
            "message": "unknown key; did you mean 'globalTTL'?",
            "path": "globalTLL",
            "file": base,
            "line": 2,
        }
    ]


def test_it_tells_which_configuration_is_in_force_and_since_when(tmp_path: Path) -> None:
    shown = told(live(tmp_path))
    assert (shown["generation"], shown["watching"], shown["last_reload"]) == (1, True, None)
    assert shown["loaded_at"] == "2023-11-14T22:13:20.250+00:00"
    assert shown["config"]["models"]["a"]["cmd"] == "s 5800"
    assert "cmd: s 5800" in shown["yaml"]


def test_no_secret_is_told(tmp_path: Path) -> None:
    text = json.dumps(told(live(tmp_path)))
    assert "sk-" not in text
    assert text.count("***") > 3


def test_a_failed_reload_is_told_with_every_problem(tmp_path: Path) -> None:
    state = live(tmp_path)
    problem = Problem("E-TYPE", "this must be a list", ("models", "a", "env"), Place("f.yaml", 7))
    state.last_reload = Attempt(at=1.5, trigger="SIGHUP", problems=(problem,), error=str(problem))
    report = told(state)["last_reload"]
    assert (report["ok"], report["trigger"], report["at"]) == (
        False,
        "SIGHUP",
        "1970-01-01T00:00:01.500+00:00",
    )
    assert report["error"] == "f.yaml:7: models.a.env: this must be a list [E-TYPE]"
    assert report["problems"] == [
        {
            "code": "E-TYPE",
            "message": "this must be a list",
            "path": "models.a.env",
            "file": "f.yaml",
            "line": 7,
        }
    ]
