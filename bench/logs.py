"""Measure the logs: `python -m bench.logs [--rounds N]`.

First the history of one source, against the usual `deque` of lines: what reading a full one costs
beside the bare copy of its bytes, what a write costs, what it takes of memory. Then the whole
program: how long small requests take while another model's server prints 100 MB a second, and
while it does not, by turns in one run. Everything stays on the loopback interface.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shlex
import socket
import statistics
import sys
import tempfile
import time
import timeit
import tracemalloc
from collections import deque
from collections.abc import Callable
from pathlib import Path

import psutil

from bench.proxy import free_port, started
from llamaswap.telemetry.loghub import LogHub
from llamaswap.telemetry.ring import CAPACITY, ByteRing

LINE = b"slot update_slots: id  0 | task 17 | new prompt, n_ctx_slot = 4096, n_keep = 0\n"
RATE = 100_000_000
"""Bytes a second."""
REQUESTS = 1500

FLOOD = f"""
import os, time
block = {LINE!r} * ({RATE // 100} // {len(LINE)})
due = time.monotonic()
while True:
    os.write(1, block)
    due = max(due + 0.01, time.monotonic() - 1)
    time.sleep(max(0, due - time.monotonic()))
"""
ANSWER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.wfile.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n{}")
    def do_GET(self):
        self.wfile.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class Lines:
    """What stands in the place of a byte ring elsewhere: so many lines, whatever their length."""

    def __init__(self, count: int) -> None:
        self.kept: deque[bytes] = deque(maxlen=count)

    def write(self, data: bytes) -> None:
        """Append one line."""
        self.kept.append(data)

    def snapshot(self) -> bytes:
        """All lines."""
        return b"".join(self.kept)


def microseconds(function: Callable[[], object]) -> float:
    """The best of several runs: the machine is shared, and noise only adds."""
    timer = timeit.Timer(function)
    number, _ = timer.autorange()
    return min(timer.repeat(7, number)) / number * 1e6


def held(make: Callable[[], object]) -> float:
    """KiB that what `make` returns holds."""
    tracemalloc.start()
    try:
        kept = make()
        size, _ = tracemalloc.get_traced_memory()
        del kept
    finally:
        tracemalloc.stop()
    return size / 1024


def full(ring: ByteRing | Lines) -> ByteRing | Lines:
    """`ring` after more lines than it keeps, the seam somewhere in its middle."""
    for number in range(2 * CAPACITY // len(LINE) + 400):
        ring.write(b"%d " % number + LINE)
    return ring


def history() -> list[str]:
    """The rows about one source."""
    ring, lines = ByteRing(), Lines(CAPACITY // len(LINE))
    full(ring)
    full(lines)
    area = memoryview(bytes(CAPACITY))
    copy = microseconds(lambda: bytes(area))
    by_ring, by_lines = microseconds(ring.snapshot), microseconds(lines.snapshot)
    rows = (
        ("read a full history, 100 KiB (µs)", by_ring, by_lines),
        (f"of that more than one bare copy, {copy:.1f} µs", by_ring - copy, by_lines - copy),
        (
            "append a line (µs)",
            microseconds(lambda: ring.write(LINE)),
            microseconds(lambda: lines.write(LINE)),
        ),
        (
            f"memory, lines of {len(LINE)} bytes (KiB)",
            held(lambda: full(ByteRing())),
            held(lambda: full(Lines(CAPACITY // len(LINE)))),
        ),
        (
            "memory, 100,000 writes of one byte (KiB)",
            held(bytewise(ByteRing())),
            held(bytewise(Lines(100_000))),
        ),
    )
    table = [f"| {name} | {one:.1f} | {other:.1f} |" for name, one, other in rows]
    block = LINE * (65536 // len(LINE))
    chunk = microseconds(lambda: ring.write(block))
    head = ["| | byte ring | deque of lines |", "|---|---:|---:|"]
    hub = LogHub("both")
    model = hub.model("m")
    through = microseconds(lambda: model.write(block))
    return [
        *head,
        *table,
        f"| append 64 KiB (µs) | {chunk:.1f} | – |",
        f"| 64 KiB of a model's output into all its logs (µs) | {through:.1f} | – |",
    ]


def bytewise(ring: ByteRing | Lines) -> Callable[[], object]:
    """Write single bytes into `ring`."""

    def write() -> object:
        for number in range(100_000):
            ring.write(b"%d" % (number % 10))
        return ring

    return write


def config(folder: str) -> Path:
    """Two models that may run together: one answers, one prints."""
    for name, code in (("flood", FLOOD), ("answer", ANSWER)):
        Path(folder, f"{name}.py").write_text(code)
    python = [sys.executable, "-I", "-S"]
    loud = shlex.join([*python, str(Path(folder, "flood.py"))])
    quiet = shlex.join([*python, str(Path(folder, "answer.py"))])
    path = Path(folder, "bench.yaml")
    path.write_text(
        f"startPort: {free_port()}\nperformance: {{disabled: true}}\nmodels:\n"
        f"  quiet:\n    cmd: {quiet} ${{PORT}}\n    checkEndpoint: /\n"
        f"  loud:\n    cmd: {loud}\n    checkEndpoint: none\n    proxy: http://127.0.0.1:9\n"
        "groups: {both: {swap: false, members: [quiet, loud]}}\n"
    )
    return path


class Client:
    """One keep-alive connection. A request is one packet, or the kernel would wait between two."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def post(self, path: str, body: object = None) -> int:
        """Send a request; return its status."""
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        self.socket.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        answer = http.client.HTTPResponse(self.socket)
        answer.begin()
        answer.read()
        return answer.status

    def latencies(self) -> list[float]:
        """Milliseconds of small requests, one after the other."""
        found = []
        for _ in range(REQUESTS):
            began = time.perf_counter()
            assert self.post("/v1/embeddings", {"model": "quiet"}) == 200
            found.append((time.perf_counter() - began) * 1e3)
        return found


def flooded(rounds: int) -> list[str]:
    """The rows about requests beside a flood."""
    calm: list[float] = []
    loud: list[float] = []
    rates: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        command = [sys.executable, "-m", "llamaswap", "-config", str(config(folder))]
        with started([*command, "-listen", f"127.0.0.1:{port}"], port) as program:
            client = Client(port)
            client.post("/v1/embeddings", {"model": "quiet"})
            for number in range(rounds):
                print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
                calm += client.latencies()
                assert client.post("/v1/embeddings", {"model": "loud"}) == 502
                child = flooding(program)
                time.sleep(1)  # a cold start is not what is measured
                before, began = written(child), time.monotonic()
                loud += client.latencies()
                rates.append((written(child) - before) / (time.monotonic() - began) / 1e6)
                assert client.post("/api/models/unload/loud") == 200
    rows = [
        f"| | nothing printed | {statistics.median(rates):.0f} MB/s printed |",
        "|---|---:|---:|",
    ]
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        one, other = (sorted(x)[min(len(x) - 1, int(len(x) * share))] for x in (calm, loud))
        rows.append(f"| request, {name} (ms) | {one:.2f} | {other:.2f} |")
    return rows


def flooding(program: psutil.Process) -> psutil.Process:
    """The child that prints."""
    while True:
        for child in program.children(recursive=True):
            if "flood.py" in str(child.cmdline()):
                return child
        time.sleep(0.02)


def written(child: psutil.Process) -> int:
    """Bytes the process has written so far."""
    return int(child.io_counters().write_chars)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.logs", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print("\n".join(history()), "\n", sep="")
    print("\n".join(flooded(options.rounds)))


if __name__ == "__main__":
    os.environ.setdefault("PYTHONHASHSEED", "0")
    main()
