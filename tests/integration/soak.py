"""A long life in a short time: `python -m tests.integration.soak --seconds 600 --seed 7`.

Clients of every kind use the program while models crash, fail to start, flood their logs and are
unloaded, and while the configuration is reloaded, sometimes with a broken file. What each client
does is decided by the seed alone, so a failure can be run again. Afterwards everything must be as
it was: nothing in flight, no child, the same tasks, descriptors and memory; and every request must
stand in the access log exactly once.

The life has two equal halves. After the first, with every cache warm, the baseline is taken.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import trio
from attrs import define, field

from tests.integration.processes import fake_command, free_ports, is_alive

ROOT = Path(__file__).parents[2]
MODELS = ("one", "two", "three", "noisy", "slow", "broken")
WORKERS = 10
ANSWER_LIMIT = 60.0
EXPECTED = frozenset((200, 404, 429, 499, 500, 502, 503))
"""Statuses a client may see in this life. 500, 502 and 503: its model was killed or stopped."""
RECORD = re.compile(r'Request \S+ "[A-Z]+ [^"]*" (\d+) \d+ "soak-(\w+-\d+)" ')
RSS_SLACK = 0.02
IDLE_CONTROL = "hypercorn.trio.tcp_server.TCPServer._idle_timeout"
CLOSING = "of these CLOSE_WAIT"
LOG_TAIL = 20_000
TRACEBACK_LINES = 60


class Failed(AssertionError):
    """Something is not as it was, or a request was lost."""


@define
class Vitals:
    """What must come back."""

    tasks: dict[str, int]
    descriptors: dict[str, int]
    """By what they are."""
    rss: int
    children: int
    objects: Counter[str]
    """That the garbage collector watches, by type."""


@define(eq=False)
class Soak:
    """One run."""

    seconds: float
    seed: int
    folder: Path
    outcomes: Counter[str] = field(factory=Counter)
    sent: set[str] = field(factory=set)
    """Ids of requests of which at least the head has left."""
    problems: list[str] = field(factory=list)
    url: str = ""
    output: bytearray = field(factory=bytearray)
    logged: Counter[str] = field(factory=Counter)
    start_port: int = field(factory=free_ports)
    version: int = 0
    process: trio.Process | None = None
    _telling: int = 0
    """Lines of the log that still belong to a problem."""

    # --- the program ------------------------------------------------------------------------------

    def config(self) -> str:
        """`version` changes what model two is started with, so a reload replaces it."""
        commands = {
            "one": fake_command("--streams"),
            "two": fake_command("--streams", "--say", f"version {self.version}"),
            "three": fake_command("--streams", "--term-delay", "0.1"),
            "noisy": fake_command("--streams", "--flood", "1", "--noise", "64"),
            "slow": fake_command("--streams", "--work", "0.2", "--ready-after", "0.3"),
            "broken": fake_command("--exit-after", "0", "--exit-code", "3"),
        }
        models = "".join(
            f"  {name}:\n    cmd: {command} --port ${{PORT}}\n    concurrencyLimit: 40\n"
            for name, command in commands.items()
        )
        return (
            f"startPort: {self.start_port}\nhealthCheckTimeout: 20\n"
            f"metricsMaxInMemory: 50\ncaptureBuffer: 1\nmodels:\n{models}"
            "groups:\n  turn: {members: [one, two, three, broken]}\n"
            "  beside: {members: [noisy, slow], swap: false, exclusive: false}\n"
        )

    @asynccontextmanager
    async def program(self) -> AsyncIterator[psutil.Process]:
        """Run it; read its log all the time; end it in order."""
        path = self.folder / "soak.yaml"
        path.write_text(self.config())
        self.process = await trio.lowlevel.open_process(
            [
                *(sys.executable, "-m", "tests.integration.inspected"),
                *(str(self.folder / "report.json"), "-config", str(path)),
                *("-listen", "127.0.0.1:0"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read_log)
            try:
                with trio.fail_after(60):
                    while not self.url:
                        await trio.sleep(0.05)
                yield psutil.Process(self.process.pid)
            finally:
                with trio.CancelScope(shield=True):
                    if self.process.returncode is None:
                        self.process.send_signal(signal.SIGTERM)
                        with trio.move_on_after(40):
                            await self.process.wait()
                    if self.process.returncode is None:
                        self.process.kill()
                        await self.process.wait()

    async def _read_log(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        line = b""
        async for data in self.process.stdout:
            self.output += data
            del self.output[:-LOG_TAIL]
            *lines, line = (line + data).split(b"\n")
            for text in lines:
                self._note(text.decode("utf-8", "replace"))
        await self.process.stdout.aclose()

    def _note(self, text: str) -> None:
        if match := RECORD.search(text):
            self.logged[match[2]] += 1
        elif "listening on " in text:
            self.url = text.rpartition("listening on ")[2].strip()
        elif "Traceback" in text or "defect in llamaswap" in text:
            self.problems.append(f"the log says: {text}")
            self._telling = TRACEBACK_LINES
        elif self._telling:
            self.problems[-1] += f"\n  {text}"
            self._telling -= 1

    # --- clients ----------------------------------------------------------------------------------

    async def half(self, name: str) -> None:
        """All clients and all trouble, for half the time."""
        end = trio.current_time() + self.seconds / 2
        async with trio.open_nursery() as nursery:
            for number in range(WORKERS):
                nursery.start_soon(self._client, f"{name}{number}", end)
            nursery.start_soon(self._trouble, name, end)

    async def _client(self, name: str, end: float) -> None:
        """One user: whatever the seed says, one request after the other."""
        rng = random.Random(f"{self.seed}/{name}")
        kinds: list[tuple[Callable[..., Awaitable[str]], int]] = [
            (self._ask, 30), (self._stream, 20), (self._leave, 15), (self._half_read, 5),
            (self._look, 10), (self._follow_log, 5), (self._nobody, 4), (self._unload, 3),
            (self._broken_body, 3), (self._cut_upload, 3), (self._big, 2),
        ]  # fmt: skip
        count = 0
        while trio.current_time() < end:
            count += 1
            ident = f"{name}-{count}"
            [kind] = rng.choices([k for k, _ in kinds], [w for _, w in kinds])
            async with httpx.AsyncClient(
                base_url=self.url, timeout=ANSWER_LIMIT, trust_env=False,
                headers={"User-Agent": f"soak-{ident}"},
                event_hooks={"request": [self._watch_sending]},
            ) as http:  # fmt: skip
                try:
                    with trio.fail_after(ANSWER_LIMIT + 5):
                        outcome = await kind(http, rng, ident)
                except (httpx.RemoteProtocolError, httpx.ReadError):
                    outcome = "cut"  # its model was killed in the middle of the answer
                except (httpx.HTTPError, OSError, trio.TooSlowError) as exc:
                    outcome = f"{kind.__name__}: {type(exc).__name__}"
                    if self.process is not None and self.process.poll() is not None:
                        raise self._gone() from exc
                    self.problems.append(f"{ident}: {outcome}")
            self.outcomes[outcome] += 1
            await trio.sleep(rng.random() * 0.02)

    def _gone(self) -> Failed:
        """The program ended in the middle of its life."""
        assert self.process is not None
        tail = self.output.decode("utf-8", "replace")[-6000:]
        return Failed(f"the program ended with {self.process.returncode}; its log:\n{tail}")

    async def _watch_sending(self, request: httpx.Request) -> None:
        """Count a request as sent once all of it has left."""
        ident = request.headers["User-Agent"].removeprefix("soak-")

        async def trace(event: str, _info: object) -> None:
            if event == "http11.send_request_body.complete":
                self.sent.add(ident)

        request.extensions["trace"] = trace

    def _judge(self, ident: str, status: int) -> str:
        if status not in EXPECTED:
            self.problems.append(f"{ident}: status {status}")
        return str(status)

    def _body(self, rng: random.Random, **keys: Any) -> dict[str, Any]:
        [model] = rng.choices(MODELS, (10, 10, 6, 6, 4, 1))
        return {"model": model, "messages": [{"role": "user", "content": "x"}], **keys}

    async def _ask(self, http: httpx.AsyncClient, rng: random.Random, ident: str) -> str:
        answer = await http.post("/v1/chat/completions", json=self._body(rng))
        return self._judge(ident, answer.status_code)

    async def _big(self, http: httpx.AsyncClient, rng: random.Random, ident: str) -> str:
        body = self._body(rng, padding="y" * rng.randrange(100_000, 2_000_000))
        answer = await http.post("/v1/chat/completions", json=body)
        return self._judge(ident, answer.status_code)

    async def _stream(self, http: httpx.AsyncClient, rng: random.Random, ident: str) -> str:
        body = self._body(rng, stream=True, max_tokens=rng.randrange(1, 40))
        content = b""
        async with http.stream("POST", "/v1/chat/completions", json=body) as answer:
            async for data in answer.aiter_raw():
                content += data
        if answer.status_code == 200 and b"[DONE]" not in content:
            # a clean end without its last event would be an answer shortened in silence
            self.problems.append(f"{ident}: the stream ended cleanly without its end")
        return self._judge(ident, answer.status_code)

    async def _leave(self, http: httpx.AsyncClient, rng: random.Random, ident: str) -> str:
        """Go away while waiting, loading or streaming."""
        body = self._body(rng, stream=True, max_tokens=200)
        with trio.move_on_after(rng.random() * 0.4) as scope:
            answer = await http.post("/v1/chat/completions", json=body)
            return self._judge(ident, answer.status_code)
        assert scope.cancelled_caught
        return "left"

    async def _half_read(self, http: httpx.AsyncClient, rng: random.Random, ident: str) -> str:
        """Read a little, stop reading, then close."""
        body = self._body(rng, stream=True, max_tokens=60)
        async with http.stream("POST", "/v1/chat/completions", json=body) as answer:
            async for _ in answer.aiter_raw():
                await trio.sleep(0.3)
                break
            return self._judge(ident, answer.status_code)

    async def _look(self, http: httpx.AsyncClient, rng: random.Random, ident: str) -> str:
        path = rng.choice(("/running", "/v1/models", "/logs", "/health", "/ui/", "/api/version"))
        return self._judge(ident, (await http.get(path)).status_code)

    async def _follow_log(self, http: httpx.AsyncClient, rng: random.Random, ident: str) -> str:
        path = rng.choice(("/logs/stream", "/logs/stream/noisy", "/logs/stream/upstream"))
        with trio.move_on_after(rng.random()):
            async with http.stream("GET", path) as answer:
                async for _ in answer.aiter_raw():
                    pass
        return "followed"

    async def _nobody(self, http: httpx.AsyncClient, rng: random.Random, ident: str) -> str:
        answer = await http.post("/v1/chat/completions", json={"model": f"no-{rng.random()}"})
        if answer.status_code != 404:
            self.problems.append(f"{ident}: an unknown model got {answer.status_code}")
        return str(answer.status_code)

    async def _broken_body(self, http: httpx.AsyncClient, rng: random.Random, ident: str) -> str:
        content = rng.choice((b"{", b"", b"[]", b'{"model": 5}', b"\xff\xfe"))
        answer = await http.post("/v1/chat/completions", content=content)
        if answer.status_code not in (400, 404):
            self.problems.append(f"{ident}: the body {content!r} got {answer.status_code}")
        return str(answer.status_code)

    async def _unload(self, http: httpx.AsyncClient, rng: random.Random, ident: str) -> str:
        path = rng.choice(("/api/models/unload", "/api/models/unload/one"))
        return self._judge(ident, (await http.post(path)).status_code)

    async def _cut_upload(self, http: httpx.AsyncClient, rng: random.Random, ident: str) -> str:
        """Announce a body and never finish it. Not in the access log: there was no request."""
        del http, ident
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
        stream = await trio.open_tcp_stream(host, int(port))
        async with stream:
            await stream.send_all(head[: rng.randrange(1, len(head))])
            await stream.send_all(b"")
        return "cut upload"

    # --- trouble ----------------------------------------------------------------------------------

    async def _trouble(self, name: str, end: float) -> None:
        """Kill models, reload, break the file and mend it."""
        assert self.process is not None
        rng = random.Random(f"{self.seed}/trouble/{name}")
        path = self.folder / "soak.yaml"
        while trio.current_time() < end:
            await trio.sleep(rng.random() * 1.5)
            match rng.choice(("kill", "kill", "term", "reload", "spoil")):
                case "reload":
                    self.version += 1
                    path.write_text(self.config())
                    self.process.send_signal(signal.SIGHUP)
                case "spoil":
                    path.write_text("models: [")
                    self.process.send_signal(signal.SIGHUP)
                    await trio.sleep(0.2)
                    path.write_text(self.config())
                case how:
                    found = self.models()
                    if found:
                        sig = signal.SIGKILL if how == "kill" else signal.SIGTERM
                        try:
                            os.kill(rng.choice(found), sig)
                        except ProcessLookupError:
                            continue
        path.write_text(self.config())

    def models(self) -> list[int]:
        """Pids of model processes."""
        assert self.process is not None
        pids = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if is_alive(child.pid) and "guardian_process" not in " ".join(child.cmdline()):
                    pids.append(child.pid)
            except psutil.NoSuchProcess:
                continue
        return pids

    # --- afterwards -------------------------------------------------------------------------------

    async def rest(self, process: psutil.Process) -> Vitals:
        """Stop every model, wait until all is quiet, and look at what is left."""
        async with httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=60) as http:
            answer = await http.post("/api/models/unload")
            assert answer.status_code == 200, answer.text
        with trio.move_on_after(20):
            while self.models():
                await trio.sleep(0.1)
        before = await self._vitals(process)
        with trio.move_on_after(40):  # the pool looks every 10 s for connections to close
            while True:
                await trio.sleep(0.75)
                now = await self._vitals(process)
                quiet = (now.tasks, now.descriptors) == (before.tasks, before.descriptors)
                if quiet and not now.descriptors.get(CLOSING):
                    return now
                before = now
        return before

    async def _vitals(self, process: psutil.Process) -> Vitals:
        path = self.folder / "report.json"
        path.unlink(missing_ok=True)
        process.send_signal(signal.SIGUSR1)
        with trio.fail_after(20):
            while not path.exists():
                await trio.sleep(0.02)
        told = json.loads(path.read_text())
        tasks, descriptors = Counter(told["tasks"]), Counter(_descriptors(process.pid))
        # idle connections to the control plane are kept for 30 s on purpose: a task that waits
        # and the task of the connection, a socket at either end
        idle = tasks.pop(IDLE_CONTROL, 0)
        tasks["trio._highlevel_serve_listeners._run_handler"] -= idle
        descriptors["socket"] -= 2 * idle
        return Vitals(
            tasks=dict(+tasks),
            descriptors=dict(+descriptors),
            objects=Counter(told["objects"]),
            rss=process.memory_info().rss,
            children=len(self.models()),
        )

    def compare(self, baseline: Vitals, now: Vitals) -> None:
        """Note everything that did not come back."""
        if now.children:
            self.problems.append(f"{now.children} model processes are left")
        more = Counter(now.tasks) - Counter(baseline.tasks)
        if more:
            self.problems.append(f"tasks are left: {dict(more)}")
        more = Counter(now.descriptors) - Counter(baseline.descriptors)
        if sum(more.values()) > sum(baseline.descriptors.values()) * RSS_SLACK:
            self.problems.append(f"descriptors are left: {dict(more)}")
        if now.rss > baseline.rss * (1 + RSS_SLACK):
            grown = (now.objects - baseline.objects).most_common(8)
            text = (
                f"memory: {baseline.rss / 2**20:.1f} MiB before, {now.rss / 2**20:.1f} after; "
                f"more objects than before: {dict(grown)}"
            )
            self.problems.append(text)

    def account(self) -> None:
        """Every request stands in the access log once."""
        lost = sorted(self.sent - self.logged.keys())
        twice = sorted(ident for ident, count in self.logged.items() if count > 1)
        if lost:
            self.problems.append(f"{len(lost)} requests are not in the access log: {lost[:5]}")
        if twice:
            self.problems.append(f"{len(twice)} requests are in it more than once: {twice[:5]}")

    async def run(self) -> str:
        """Live, rest, compare. Raises Failed; returns one line for people."""
        async with self.program() as process:
            await self.half("a")
            baseline = await self.rest(process)
            await self.half("b")
            now = await self.rest(process)
            self.compare(baseline, now)
        assert self.process is not None
        if self.process.returncode != 0:
            self.problems.append(f"exit code {self.process.returncode}")
        self.account()
        told = ", ".join(f"{count} × {what}" for what, count in self.outcomes.most_common())
        counts = [
            f"{what} {sum(one.values())} → {sum(two.values())}"
            for what, one, two in (
                ("descriptors", baseline.descriptors, now.descriptors),
                ("tasks", baseline.tasks, now.tasks),
            )
        ]
        figures = (
            f"{sum(self.outcomes.values())} requests ({told}); {', '.join(counts)}, memory "
            f"{baseline.rss / 2**20:.1f} → {now.rss / 2**20:.1f} MiB, objects "
            f"{baseline.objects.total()} → {now.objects.total()}, {self.version} reloads"
        )
        if self.problems:
            again = (
                f"python -m tests.integration.soak --seconds {self.seconds:g} --seed {self.seed}"
            )
            listed = "\n".join(f"- {problem}" for problem in self.problems[:30])
            tail = self.output.decode("utf-8", "replace")[-3000:]
            raise Failed(f"{figures}\n{listed}\nagain: {again}\nlog:\n{tail}")
        return figures


def _descriptors(pid: int) -> dict[str, int]:
    """Open descriptors of a process, counted by kind and, for sockets, by state."""
    kinds: Counter[str] = Counter()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(entry)
        except OSError:
            continue
        kinds[re.sub(r"\d+", "N", target.partition(":")[0])] += 1
    for connection in psutil.Process(pid).net_connections(kind="tcp"):
        kinds[f"of these {connection.status}"] += 1
    return dict(kinds)


async def soak(seconds: float, seed: int) -> str:
    """Run it; return the figures. Raises Failed."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        return await Soak(seconds, seed, Path(folder)).run()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=None, help="default: a new one each time")
    options = parser.parse_args()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    print(f"{options.seconds:g} s with seed {seed}: {shlex.join(sys.argv)}", flush=True)
    try:
        print(trio.run(soak, options.seconds, seed))
    except Failed as exc:
        print(exc)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
