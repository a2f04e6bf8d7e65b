"""`GET /api/config`: what is in force, where it came from, how the last reload went.

Never a secret. Source: web-ui §1 (configuration facts), config §1.7.
"""

from __future__ import annotations

from copy import copy
from datetime import UTC, datetime
from typing import Any

import quart
import trio
from attrs import asdict

from llamaswap.api.app import ControlPlane, Surroundings, json_response
from llamaswap.config.live import Attempt, LiveConfig
from llamaswap.config.problems import Place, Problem, key_path
from llamaswap.config.report import hide_secrets, printable
from llamaswap.config.resolved import as_document


def add_routes(app: ControlPlane, around: Surroundings) -> None:
    """Show the configuration."""

    async def configuration() -> quart.Response:
        # 200 models take 0.2 s to write as YAML; streams go on meanwhile
        return json_response(await trio.to_thread.run_sync(facts, copy(around.live)))

    app.add_url_rule("/api/config", "config", configuration)


def facts(live: LiveConfig) -> dict[str, Any]:
    """All there is to know.

    Shape: `{"generation": int, "loaded_at": RFC 3339, "watching": bool, "sources": [path],
    "origins": {key path: {"file", "line"}}, "warnings": [problem], "last_reload": null | {"ok",
    "at", "trigger", "error", "problems": [problem], "models": {"unchanged": [id], "adjusted",
    "changed", "removed", "added"}}, "config": {as in a file}, "yaml": text}` with problem
    `{"code", "message", "path", "file", "line"}`.
    """
    loaded = live.loaded
    return {
        "generation": live.generation,
        "loaded_at": _time(live.loaded_at),
        "watching": live.watching,
        "sources": list(loaded.sources),
        "origins": {path: _place(place) for path, place in loaded.origins.items()},
        "warnings": [_problem(problem) for problem in loaded.warnings],
        "last_reload": live.last_reload and _attempt(live.last_reload),
        "config": hide_secrets(as_document(loaded.config)),
        "yaml": printable(loaded.config),
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "ok": attempt.ok,
        "at": _time(attempt.at),
        "trigger": attempt.trigger,
        "error": attempt.error,
        "problems": [_problem(problem) for problem in attempt.problems],
        "models": asdict(attempt.difference),
    }


def _problem(problem: Problem) -> dict[str, Any]:
    where = _place(problem.place)
    path = key_path(problem.path)
    return {"code": problem.code, "message": problem.text, "path": path, **where}


def _place(place: Place) -> dict[str, Any]:
    return {"file": place.file, "line": place.line}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
