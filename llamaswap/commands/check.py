"""`check`: would it run? Configuration, programs, files, ports, GPUs, and a running instance."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from attrs import asdict
from rich.console import Console
from rich.text import Text

from llamaswap.commands.arguments import Flag, Given, Line
from llamaswap.commands.connection import DEFAULT_URL, JSON, REACH, Declined, Unreachable, connected
from llamaswap.commands.findings import Finding
from llamaswap.commands.inspection import (
    inspect_config,
    inspect_gpu_nodes,
    inspect_models,
    inspect_ports,
)
from llamaswap.commands.progress import progress
from llamaswap.commands.running import run_async
from llamaswap.config.load import Loaded, load_config
from llamaswap.config.problems import ConfigInvalid

LINE = Line(
    name="check",
    summary="Check the configuration, programs, files, ports, GPUs and a running instance.",
    flags=(
        Flag("config", "path", "configuration file", environ="LLAMASWAP_CONFIG"),
        Flag("config-dir", "dir", "directory of configuration files"),
        JSON,
        *REACH,
    ),
    details=(
        "Starts nothing. Exit code 1 if anything fails; doubts alone are no failure.\n"
        "Without -config only the machine and the running instance are checked."
    ),
)
SIGNS = {"ok": ("ok", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "bold red"),
         "skip": ("–", "dim")}  # fmt: skip


def run(arguments: Sequence[str]) -> int:
    """Print one line per thing looked at."""
    given = LINE.read(arguments)
    findings = run_async(lambda: _findings(given))
    if given.on("json"):
        told = {"ok": not _failed(findings), "findings": [asdict(item) for item in findings]}
        sys.stdout.write(msgspec.json.encode(told).decode() + "\n")
    else:
        console = Console(highlight=False, soft_wrap=True)
        for item in findings:
            console.print(_line(item))
    return 1 if _failed(findings) else 0


async def _findings(given: Given) -> list[Finding]:
    async with progress("checking"):
        instance = await _instance(given)
        running = any(item.verdict == "ok" for item in instance)
        return [*_configured(given, running=running), *inspect_gpu_nodes(), *instance]


def _configured(given: Given, *, running: bool) -> Iterator[Finding]:
    file, folder = given.text("config"), given.text("config-dir")
    if not file and not folder:
        yield Finding("configuration", "skip", "none named; -config FILE checks one")
        return
    try:
        loaded: Loaded = load_config(
            Path(file) if file else None, Path(folder) if folder else None, environ=os.environ
        )
    except ConfigInvalid as exc:
        for problem in exc.problems:
            yield Finding("configuration", "fail", str(problem))
        for warning in exc.warnings:
            yield Finding("configuration", "warn", str(warning))
        return
    yield from inspect_config(loaded)
    yield from inspect_models(loaded.config)
    yield from inspect_ports(loaded.config, running=running)


async def _instance(given: Given) -> list[Finding]:
    """Whether a llamaswap answers. None running is no failure, unless one was named."""
    named = given.text("url") != DEFAULT_URL
    async with connected(given) as connection:
        topic = f"instance {connection.url}"
        try:
            await connection.ask("GET", "/health", within=5)
            version = (await connection.get("/api/version", within=5))["version"]
            running = (await connection.get("/running", within=5))["running"]
        except Unreachable as exc:
            return [Finding(topic, "fail" if named else "skip", str(exc))]
        except (Declined, msgspec.DecodeError, KeyError) as exc:
            return [Finding(topic, "fail", f"answers, but not as llamaswap does: {exc}")]
    states = ", ".join(f"{entry['model']} {entry['state']}" for entry in running) or "no model runs"
    return [Finding(topic, "ok", f"version {version}; {states}")]


def _failed(findings: Sequence[Finding]) -> bool:
    return any(item.verdict == "fail" for item in findings)


def _line(item: Finding) -> Text:
    sign, style = SIGNS[item.verdict]
    return Text.assemble((f"{sign:<5}", style), (item.topic, "bold"), f": {item.text}")
