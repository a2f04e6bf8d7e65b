"""Measure the data plane: `python -m bench.proxy [--rounds N] [--quick] [--also NAME=URL]`.

A mock model server stands behind every contestant: a direct connection, this program with
everything switched on (real supervisor, scheduler, access log, books), the same without its books
(bench/unobserved.py), Go's httputil.ReverseProxy, and any proxy given by URL. They take turns in
every round of one run; medians and ratios are printed as Markdown. Everything stays on the loopback
interface. Needs Go.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).parent
BIN = HERE / "bin"
PATH = "/v1/chat/completions"
OURS = ("llamaswap", "without books")


def build() -> None:
    """Build the Go programs when they are missing or older than their source."""
    go = shutil.which("go")
    if go is None:
        sys.exit("The bench needs Go (https://go.dev) for its load generator and yardstick.")
    BIN.mkdir(exist_ok=True)
    for source in sorted((HERE / "go").glob("*.go")):
        target = BIN / source.stem
        if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
            subprocess.run([go, "build", "-o", target, source], check=True)


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(command: list[str], port: int) -> Iterator[psutil.Process]:
    """Run a server until the block ends; enter once it listens."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        for _ in range(400):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.025)
        else:
            sys.exit(f"{command[0]} did not start to listen on port {port}")
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(timeout=40)


def our_config(upstream: int, folder: str) -> Path:
    """One model that is ready at once and reached at the mock's port."""
    path = Path(folder, "bench.yaml")
    path.write_text(
        "models:\n  bench:\n    cmd: sleep 100000\n    checkEndpoint: none\n"
        f"    proxy: http://127.0.0.1:{upstream}\n    concurrencyLimit: 5000\n"
    )
    return path


def load(url: str, connections: int, requests: int, *, stream: bool = False) -> dict[str, Any]:
    """One run of the load generator."""
    command = [str(BIN / "load"), "-u", url, "-c", str(connections), "-n", str(requests)]
    if stream:
        command.append("-stream")
    found: dict[str, Any] = json.loads(
        subprocess.run(command, check=True, capture_output=True).stdout
    )
    if found["errors"]:
        sys.exit(f"{found['errors']} of {requests} requests to {url} failed")
    return found


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


class Contestant:
    """Somebody to measure."""

    def __init__(self, name: str, url: str, process: psutil.Process | None) -> None:
        self.name = name
        self.url = url + PATH
        self.process = process
        self.figures: dict[str, list[float]] = {}

    def note(self, what: str, value: float) -> None:
        """Keep one figure of one round."""
        self.figures.setdefault(what, []).append(value)

    def median(self, what: str) -> float | None:
        """The middle of all rounds."""
        values = self.figures.get(what)
        return statistics.median(values) if values else None

    def measure(self, scale: float) -> None:
        """One round of everything."""
        one = load(self.url, 1, int(2000 * scale))
        self.note("req/s, 1 connection", one["requests"] / one["seconds"])
        self.note("first byte p50, 1 connection (ms)", one["first_byte_p50_ms"])
        many = load(self.url, 32, int(10000 * scale))
        self.note("req/s, 32 connections", many["requests"] / many["seconds"])
        self.note("first byte p99, 32 connections (ms)", many["first_byte_p99_ms"])
        burst = load(f"{self.url}?n=2000", 8, int(80 * scale) + 8, stream=True)
        self.note("chunks/s, burst", burst["chunks"] / burst["seconds"])
        before = cpu_seconds(self.process) if self.process else 0.0
        paced = load(f"{self.url}?n=100&d=20", 100, 100, stream=True)
        if self.process:
            used = cpu_seconds(self.process) - before
            self.note("CPU s per 10,000 paced chunks", used * 10_000 / paced["chunks"])

    def streams(self, count: int) -> None:
        """Memory and time to first byte under many streams at once."""
        command = [str(BIN / "load"), "-u", f"{self.url}?n=40&d=100", "-c", str(count)]
        command += ["-n", str(count), "-stream"]
        idle = self.process.memory_info().rss if self.process else 0
        with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
            time.sleep(3.2)
            if self.process:
                busy = self.process.memory_info().rss
                self.note(f"KB per stream, {count} streams", (busy - idle) / count / 1000)
            assert running.stdout is not None
            found = json.loads(running.stdout.read())
        if found["errors"]:
            sys.exit(f"{found['errors']} of {count} streams through {self.name} failed")
        self.note(f"first byte p99, {count} streams (ms)", found["first_byte_p99_ms"])


def table(contestants: list[Contestant], yardstick: Contestant) -> str:
    """Medians as Markdown, both of ours over the yardstick's in the last columns."""
    ours = [c for c in contestants if c.name in OURS]
    direct = contestants[0]
    names = [c.name for c in contestants] + [f"{c.name} / Go" for c in ours]
    lines = [f"| | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
    rows = list(dict.fromkeys(what for c in contestants for what in c.figures))
    for what in rows:
        cells = [_show(c.median(what)) for c in contestants]
        cells += [_ratio(c, yardstick, what) for c in ours]
        lines.append(f"| {what} | {' | '.join(cells)} |")
    what = "first byte p50, 1 connection (ms)"
    base = direct.median(what) or 0.0
    added = {c.name: (c.median(what) or 0.0) - base for c in contestants}
    cells = [_show(value) for value in added.values()]
    cells += [f"{added[c.name] / added[yardstick.name]:.2f}" for c in ours]
    lines.append(f"| added p50, 1 connection (ms) | {' | '.join(cells)} |")
    return "\n".join(lines)


def _show(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _ratio(ours: Contestant, other: Contestant, what: str) -> str:
    mine, theirs = ours.median(what), other.median(what)
    return f"{mine / theirs:.2f}" if mine is not None and theirs else "–"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.proxy", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a fifth of the load")
    parser.add_argument("--also", action="append", default=[], metavar="NAME=URL")
    options = parser.parse_args()
    build()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        upstream, go = free_port(), free_port()
        stack.enter_context(started([str(BIN / "upstream"), str(upstream)], upstream))
        yardstick = stack.enter_context(
            started([str(BIN / "yardstick"), str(go), str(upstream)], go)
        )
        config = str(our_config(upstream, folder))
        contestants = [Contestant("direct", f"http://127.0.0.1:{upstream}", None)]
        for name, module in zip(OURS, ("llamaswap", "bench.unobserved"), strict=True):
            port = free_port()
            url = f"http://127.0.0.1:{port}"
            command = [sys.executable, "-m", module, "-config", config]
            program = started([*command, "-listen", f"127.0.0.1:{port}"], port)
            contestants.append(Contestant(name, url, stack.enter_context(program)))
            urllib.request.urlopen(f"{url}/health").read()
        go_proxy = Contestant("Go ReverseProxy", f"http://127.0.0.1:{go}", yardstick)
        contestants.append(go_proxy)
        for also in options.also:
            name, _, url = also.partition("=")
            contestants.append(Contestant(name, url.rstrip("/"), None))
        idle = {c.name: c.process.memory_info().rss / 1e6 for c in contestants if c.process}
        for round_number in range(options.rounds):
            print(f"round {round_number + 1} of {options.rounds}", file=sys.stderr, flush=True)
            for contestant in contestants:
                contestant.measure(0.2 if options.quick else 1.0)
        for count in (300, 1000):
            print(f"{count} streams", file=sys.stderr, flush=True)
            for contestant in contestants:
                contestant.streams(count)
        for contestant in contestants:
            if contestant.process:
                contestant.note("RSS idle (MB)", idle[contestant.name])
        print(table(contestants, go_proxy))


if __name__ == "__main__":
    main()
