"""What tests of reloading share: a program whose configuration is edited while it runs."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from attrs import define, field

from tests.integration.processes import fake_command, free_ports, settled
from tests.integration.program import Program, started, write

START_PORTS = iter(free_ports, -1)
"""Not the default, and no ports that the system hands out: other programs may run beside this one.
Where a model has a port already, another startPort does not move it."""


def models(*names: str, more: str = "", tail: str = "", **own: str) -> str:
    """Models that run side by side; `own`: what is written about one of them besides its cmd."""
    start = "" if "startPort" in tail else f"startPort: {next(START_PORTS)}"
    lines = ["models:"]
    for name in names:
        lines += [f"  {name}:", f"    cmd: {fake_command('--say', f'hello from {name}')}"]
        lines[-1] += " --port ${PORT}"
        lines += [f"    {text}" for text in (more, own.get(name, "")) if text]
    lines += ["groups:", f"  all: {{swap: false, members: [{', '.join(names)}]}}", start, tail]
    return "\n".join(lines) + "\n"


@define
class Stage:
    """A running program and the file it was started with."""

    program: Program
    path: Path

    async def facts(self) -> dict[str, Any]:
        """What `GET /api/config` says."""
        answer = await self.program.http.get("/api/config")
        assert answer.status_code == 200
        result: dict[str, Any] = answer.json()
        return result

    async def running(self) -> list[dict[str, Any]]:
        """What `/running` says, sorted by model."""
        answer = await self.program.http.get("/running")
        result: list[dict[str, Any]] = answer.json()["running"]
        return result

    async def becomes(self, model: str, state: str) -> None:
        """Wait until `model` is in `state`."""
        await self.eventually(self.program.running, lambda found: found.get(model) == state)

    async def eventually(
        self, ask: Callable[[], Awaitable[Any]], right: Callable[[Any], bool]
    ) -> None:
        """Ask until the answer is right."""
        answer: Any = None
        with trio.move_on_after(15):
            while not right(answer := await ask()):
                await trio.sleep(0.05)
            return
        raise AssertionError(f"still {answer}\n{self.program.log()}")

    async def first_line_of_log(self, model: str) -> str:
        """The oldest line of a model's history."""
        async with self.program.http.stream("GET", f"/logs/stream/{model}") as answer:
            async for line in answer.aiter_lines():
                return line
        return ""

    async def pid(self, model: str) -> int:
        """The process that serves `model` now; starts it if none does."""
        answer = await self.program.chat(model)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["pid"])

    def begun(self) -> int:
        """How many reloads have begun."""
        return self.program.log().count("reloading the configuration")

    def ended(self) -> int:
        """How many reloads have ended, either way."""
        log = self.program.log()
        return log.count("configuration reloaded") + log.count("reload failed")

    async def reload(self, text: str | None = None) -> None:
        """Write `text`, send SIGHUP and wait until that reload has ended."""
        if text is not None:
            write(self.path, text)
        before = self.ended()
        self.program.process.send_signal(signal.SIGHUP)
        await settled(lambda: self.ended() > before)

    async def reloaded(self, count: int) -> None:
        """Wait for reload number `count` to end; there must not have been more."""
        await settled(lambda: self.ended() >= count)
        assert self.begun() == count


@asynccontextmanager
async def stage(folder: Path, text: str, *flags: str) -> AsyncIterator[Stage]:
    """Start the program with `text` as its configuration."""
    path = folder / "c.yaml"
    async with started("-config", write(path, text), *flags) as program:
        yield Stage(program, path)


@define
class Stream:
    """A streaming request under way."""

    stage: Stage
    model: str
    end: Path
    received: bytearray = field(factory=bytearray)
    over: trio.Event = field(factory=trio.Event)

    async def run(self) -> None:
        body = {"model": self.model, "stream": True, "until": str(self.end)}
        http = self.stage.program.http
        async with http.stream("POST", "/v1/chat/completions", json=body) as answer:
            assert answer.status_code == 200
            async for data in answer.aiter_bytes():
                self.received += data
        self.over.set()

    @property
    def pid(self) -> int:
        return int(self.received.split()[1])

    def finish(self) -> None:
        """Let the server send the last event."""
        self.end.touch()

    def is_whole(self) -> bool:
        """Whether one process sent it from beginning to end."""
        lines = set(bytes(self.received).split(b"\n\n")) - {b""}
        return lines == {b"data: %d" % self.pid, b"data: [DONE]"}


@asynccontextmanager
async def streaming(stage: Stage, model: str) -> AsyncIterator[Stream]:
    """A stream that runs during the block; it has ended properly, or not at all, at the end."""
    stream = Stream(stage, model, stage.path.with_name(f"end-of-{model}"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.run)
        await settled(lambda: stream.received.count(b"\n\n") > 1)
        yield stream
        nursery.cancel_scope.cancel()


@define
class Messages:
    """What `GET /api/events` has told one client so far: type and body of each message."""

    got: list[tuple[str, Any]] = field(factory=list)

    def of(self, kind: str) -> list[Any]:
        """The bodies of all messages of one type."""
        return [body for found, body in self.got if found == kind]


@asynccontextmanager
async def listening(stage: Stage, topics: str) -> AsyncIterator[Messages]:
    """A client of `/api/events?topics=` during the block; it has its snapshots at the beginning."""
    messages = Messages()

    async def read() -> None:
        url = f"/api/events?topics={topics}"
        async with stage.program.http.stream("GET", url) as answer:
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                if line.startswith("data:"):
                    message = json.loads(line.removeprefix("data:"))
                    messages.got.append((message["type"], json.loads(message["data"])))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await settled(lambda: bool(messages.got))
        yield messages
        nursery.cancel_scope.cancel()


def replace(path: Path, text: str) -> None:
    """Swap `path` for a new file with `text`, as editors do."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.rename(path)


def touch(path: Path) -> None:
    """Change nothing but the time."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))
