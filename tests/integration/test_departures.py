"""Many clients that leave at random moments: nothing of them stays. `make departures` asks more.

Nine of ten requests are given up somewhere between their first byte and their last; afterwards no
request is in flight, no upstream connection open, no descriptor and no memory lost.
"""

from __future__ import annotations

import json
import logging
import os
import random
import shlex
import socket
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import trio
from attrs import define, field

from tests.integration.http_cases.stage import Server, running, settled
from tests.integration.processes import free_ports

logger = logging.getLogger(__name__)

COUNT = int(os.environ.get("LLAMASWAP_DEPARTURES", "500"))
AT_ONCE = 48
STAYING = 0.1
SERVER = Path(__file__).parent / "http_cases" / "model_server.py"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    command = shlex.join([sys.executable, "-I", "-S", str(SERVER)])
    text = f"""
startPort: {free_ports()}
captureBuffer: 0 # what is kept on purpose would only hide what is lost
metricsMaxInMemory: 100
models:
  one:
    cmd: "{command} --port ${{PORT}} --name one"
    concurrencyLimit: 30
    timeouts: {{idleConn: 1}}
  two:
    cmd: "{command} --port ${{PORT}} --name two --delay 0.1"
    concurrencyLimit: 30
    sendLoadingState: true
    timeouts: {{idleConn: 1}}
"""
    with running(tmp_path, text) as found:
        yield found


@define
class Crowd:
    """Clients, most of which do not stay for their answer."""

    port: int
    random: random.Random
    answered: int = 0
    refused: int = 0
    left: int = 0
    broken: list[bytes] = field(factory=list)

    async def run(self, count: int) -> None:
        """One request after the other on `AT_ONCE` connections side by side."""
        todo = iter(range(count))

        async def client() -> None:
            for _ in todo:
                await self._one()

        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(client)

    async def _one(self) -> None:
        stays = self.random.random() < STAYING
        model = self.random.choices(["one", "two"], [30, 1])[0]  # a swap now and then
        mode = self.random.choice(["", "?mode=sselong", "?mode=slow&t=0.05", "?mode=usage"])
        if stays and mode == "?mode=sselong":
            mode = ""
        body = json.dumps({"model": model, "stream": self.random.random() < 0.5}).encode()
        raw = (
            f"POST /v1/chat/completions{mode} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        async with stream:
            if stays:
                await stream.send_all(raw)
                self._take(await _to_end(stream))
                return
            with trio.move_on_after(self.random.random() * 0.08):
                await stream.send_all(raw[: self.random.choice([len(raw), len(raw), 30])])
                await _to_end(stream)
            self.left += 1
            if self.random.random() < 0.5:  # half of them without a goodbye
                reset = struct.pack("ii", 1, 0)
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)

    def _take(self, answer: bytes) -> None:
        if answer.startswith(b"HTTP/1.1 200 ") and answer.endswith((b"}", b"0\r\n\r\n")):
            self.answered += 1
        elif answer.startswith(b"HTTP/1.1 429 "):
            self.refused += 1
        else:
            self.broken.append(answer)


async def _to_end(stream: trio.SocketStream) -> bytes:
    found = b""
    try:
        while data := await stream.receive_some(65536):
            found += data
    except trio.BrokenResourceError:
        pass
    return found


def in_flight(server: Server) -> int:
    """Requests the program says are under way."""
    connection = server.connect()
    try:
        connection.send("GET", "/api/events?topics=inflight")
        seen = b""
        while b'\\"snapshot\\"' not in seen or not seen.endswith(b"\n\n\r\n"):
            data = connection.sock.recv(65536)
            assert data
            seen += data
        line = next(part for part in seen.split(b"\n") if b'\\"snapshot\\"' in part)
        return len(json.loads(json.loads(line.removeprefix(b"data:"))["data"])["requests"])
    finally:
        connection.close()


def upstream_connections(program: psutil.Process, listening: int) -> int:
    """Connections of the program to its models: all but those it was asked by."""
    return sum(
        1
        for c in program.net_connections("tcp")
        if c.status == psutil.CONN_ESTABLISHED and c.laddr.port != listening
    )


@pytest.mark.timeout(0 if COUNT > 2000 else 180)
@pytest.mark.skipif(sys.platform != "linux", reason="looks at descriptors and memory in /proc")
def test_nothing_stays_of_clients_that_left(server: Server) -> None:
    assert server.process is not None
    program = psutil.Process(server.process.pid)
    seed = int(os.environ.get("LLAMASWAP_SEED", time.time_ns() % 1_000_000))
    logger.info("seed %d", seed)
    crowd = Crowd(server.port, random.Random(seed))

    def at_rest() -> tuple[int, int]:
        """Memory and descriptors once everything has ended."""
        settled(lambda: in_flight(server) == 0)
        settled(lambda: upstream_connections(program, server.port) == 0)
        return program.memory_info().rss, program.num_fds()

    trio.run(crowd.run, COUNT // 3)  # warm: allocators, caches, rows of activity
    memory, descriptors = at_rest()
    trio.run(crowd.run, COUNT - COUNT // 3)
    memory_now, _ = at_rest()
    logger.info("%s: %.1f MB more", crowd, (memory_now - memory) / 1e6)
    assert crowd.broken == []
    assert crowd.left > COUNT * 0.8
    assert crowd.answered > 0
    # what a model holds of pipes may differ by which one is loaded; none is lost per request.
    # The last clients' sockets may be noticed a moment later than their requests.
    settled(lambda: program.num_fds() <= descriptors + 8)
    assert memory_now <= memory + 8_000_000
    assert "defect" not in server.log.read_text("utf-8", "replace")
    settled(lambda: server.chat('{"model":"one"}').status == 200)
