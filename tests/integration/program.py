"""The whole program as a child, as a user runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import trio
from attrs import define

from tests.integration.processes import is_alive

URL = re.compile(r"listening on (https?://\S+)")


@define(eq=False)
class Program:
    """A running program."""

    process: trio.Process
    url: str
    output: bytearray
    http: httpx.AsyncClient

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> str:
        return self.output.decode("utf-8", "replace")

    def children(self) -> list[psutil.Process]:
        found = psutil.Process(self.pid).children(recursive=True)
        return [child for child in found if is_alive(child.pid)]

    def model_pids(self) -> list[int]:
        """Processes of models: all children but the guardian."""
        return [c.pid for c in self.children() if "guardian_process" not in " ".join(c.cmdline())]

    async def running(self) -> dict[str, str]:
        answer = (await self.http.get("/running")).json()["running"]
        return {entry["model"]: entry["state"] for entry in answer}

    async def chat(self, model: str, **keys: Any) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **keys}
        return await self.http.post("/v1/chat/completions", json=body)

    async def stop(self, sig: signal.Signals = signal.SIGTERM, *, within: float = 40) -> int:
        """Signal the program and wait for its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(sig)
        with trio.fail_after(within):
            return await self.process.wait()


def command(*flags: str) -> list[str]:
    return [sys.executable, "-m", "llamaswap", *flags]


def hasty(rate: float) -> list[str]:
    """The program with all its deadlines and pauses `rate` times as short. See `hasty_program`."""
    return [sys.executable, str(Path(__file__).with_name("hasty_program.py")), f"{rate:g}"]


@asynccontextmanager
async def started(
    *flags: str,
    env: dict[str, str] | None = None,
    listen: str = "127.0.0.1:0",
    program: Sequence[str] = (sys.executable, "-m", "llamaswap"),
) -> AsyncIterator[Program]:
    """Run the program; enter once it listens; at the end it must stop in order."""
    process = await trio.lowlevel.open_process(
        [*program, *flags, "-listen", listen],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **(env or {})},
    )
    output = bytearray()
    assert process.stdout is not None
    stdout = process.stdout
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            async for data in stdout:
                output.extend(data)

        nursery.start_soon(read)
        try:
            with trio.fail_after(60):  # nine at once on a busy machine
                while (match := URL.search(output.decode("utf-8", "replace"))) is None:
                    assert process.poll() is None, output.decode()
                    await trio.sleep(0.02)
            async with httpx.AsyncClient(
                base_url=match[1], timeout=60, trust_env=False, verify=False
            ) as client:
                yield Program(process, match[1], output, client)
        finally:
            with trio.CancelScope(shield=True):
                if process.poll() is None:
                    process.terminate()
                    with trio.move_on_after(40):
                        await process.wait()
                if process.poll() is None:
                    process.kill()
                    await process.wait()
            nursery.cancel_scope.cancel()  # its stdout has ended with it
    with trio.CancelScope(shield=True):
        await stdout.aclose()


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def demo_config(folder: Path) -> str:
    """The path of a configuration like the built-in one, on ports nobody else uses now."""
    from llamaswap.demo.config import demo_config_text
    from tests.integration.processes import free_ports

    text = f"startPort: {free_ports()}\n{demo_config_text(sys.executable)}"
    return write(folder / "demo.yaml", text)
