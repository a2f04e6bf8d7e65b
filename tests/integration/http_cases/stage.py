"""A running program in front of the cases' model servers, and a client of plain sockets.

One program serves all cases of one configuration; a case says what it needs to be loaded.
"""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httptools
from attrs import define, field

from tests.integration.processes import free_port, free_ports
from tests.integration.program import URL, command

HERE = Path(__file__).parent
MODEL_SERVER = shlex.join([sys.executable, "-I", "-S", str(HERE / "model_server.py")])
PATIENCE = 30.0
"""Seconds after which a wait has failed; the machine may be busy."""


@define
class Reply:
    """A parsed answer."""

    status: int = 0
    headers: list[tuple[str, str]] = field(factory=list)
    body: bytes = b""
    complete: bool = False
    cut: bool = False
    """Whether the connection ended before the answer did."""

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True

    def header(self, name: str) -> str | None:
        return next((v for n, v in self.headers if n.lower() == name.lower()), None)

    def all_headers(self, name: str) -> list[str]:
        return [v for n, v in self.headers if n.lower() == name.lower()]

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def up_headers(self) -> list[tuple[str, str]]:
        """What an echoing model server saw."""
        return [(name, value) for name, value in self.json()["headers"]]


@define(eq=False)
class Connection:
    """One client connection."""

    sock: socket.socket

    def send(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
    ) -> None:
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
        names = {name.lower() for name, _ in pairs}
        lines = [f"{method} {target} HTTP/1.1"]
        if "host" not in names:
            lines.append("Host: client.test")
        lines += [f"{name}: {value}" for name, value in pairs]
        if body is not None and not names & {"content-length", "transfer-encoding"}:
            lines.append(f"Content-Length: {len(body)}")
        self.sock.sendall("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b""))

    def reply(self, method: str = "GET") -> Reply:
        """The next answer, whole or cut."""
        found = Reply()
        parser = httptools.HttpResponseParser(found)
        seen = b""
        while not found.complete:
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                found.cut = True
                break
            seen += data
            parser.feed_data(data)
            if method == "HEAD" and b"\r\n\r\n" in seen:
                break
        found.status = parser.get_status_code() if seen else 0
        return found

    def close(self) -> None:
        self.sock.close()


@define(eq=False)
class Server:
    """The program, listening."""

    port: int
    peer_port: int
    log: Path
    key: str = ""
    process: subprocess.Popen[bytes] | None = None
    _marks: count[int] = field(factory=lambda: count(1), init=False)

    def connect(self) -> Connection:
        return Connection(socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE))

    def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
    ) -> Reply:
        connection = self.connect()
        try:
            connection.send(method, target, headers, body)
            return connection.reply(method)
        finally:
            connection.close()

    def manage(self, method: str, target: str, body: bytes | None = None) -> Reply:
        """A management request, with the key if there is one."""
        return self.request(method, target, {"x-api-key": self.key} if self.key else {}, body)

    def chat(self, body: str, query: str = "", **headers: str) -> Reply:
        kinds = {"Content-Type": "application/json", **headers}
        return self.request("POST", f"/v1/chat/completions{query}", kinds, body.encode())

    def running(self) -> dict[str, str]:
        found = self.manage("GET", "/running").json()["running"]
        return {entry["model"]: entry["state"] for entry in found}

    def load(self, *models: str) -> None:
        for model in models:
            assert self.manage("GET", f"/upstream/{model}/loaded").status == 200, model

    def unload(self, *models: str) -> None:
        for model in models:
            assert self.manage("POST", f"/api/models/unload/{model}").status == 200, model

    def profile(self, name: str | None) -> None:
        answer = self.manage("PUT", "/api/profiles/active", json.dumps({"name": name}).encode())
        assert answer.status == 200, answer

    def mark(self) -> int:
        """Leave a row of a model nobody has; its id. All requests before have their rows then."""
        name = f"marker-{next(self._marks)}"
        self.chat(json.dumps({"model": name}), **({"x-api-key": self.key} if self.key else {}))
        rows = settled(lambda: [row for row in self.rows() if row["model"] == name])
        return int(rows[0]["id"])

    def rows(self, limit: int = 50) -> list[dict[str, Any]]:
        """The newest activity rows, newest first."""
        data = self.manage("GET", f"/api/metrics/activity?limit={limit}").json()["data"]
        return list(data)


def answers(server: Server, target: str, method: str = "GET") -> bool:
    """Whether a management route has somebody behind it."""
    if server.manage("HEAD" if method == "GET" else method, target).status != 404:
        return True
    return b'"Not Found"' not in server.manage(method, target).body


def settled(condition: Callable[[], Any], within: float = PATIENCE) -> Any:
    """Poll until `condition` gives something true; return it."""
    until = time.monotonic() + within
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < until, "did not come true"
        time.sleep(0.02)


def configuration(peer_port: int, more: str = "") -> str:
    """The fixture's text with the addresses of this run."""
    text = (HERE / "fixture.yaml").read_text("utf-8")
    text = text.replace("PEER", f"127.0.0.1:{peer_port}", text.count("PEER"))
    text = text.replace("DEAD", f"127.0.0.1:{free_port()}")
    text = text.replace(": U --", f": {MODEL_SERVER} --").replace('"U --', f'"{MODEL_SERVER} --')
    return f"startPort: {free_ports()}\n{text}{more}"


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def serving(folder: Path, more: str = "", key: str = "") -> Iterator[Server]:
    """The program with the fixture's configuration and `more`; enter once it listens."""
    peer_port = free_port()
    with ExitStack() as stack:
        peer_command = [*shlex.split(MODEL_SERVER), "--port", str(peer_port), "--name", "PEER"]
        stack.enter_context(_ended(subprocess.Popen(peer_command, stdout=subprocess.DEVNULL)))
        server = stack.enter_context(running(folder, configuration(peer_port, more), key))
        server.peer_port = peer_port
        settled(lambda: _accepts(peer_port))
        yield server


@contextmanager
def running(folder: Path, text: str, key: str = "") -> Iterator[Server]:
    """The program with any configuration; enter once it listens."""
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    log = folder / "program.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command("-config", str(path), "-listen", "127.0.0.1:0"),
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def listening() -> int:
        assert process.poll() is None, log.read_text()
        match = URL.search(log.read_text("utf-8", "replace"))
        return int(match[1].rpartition(":")[2]) if match else 0

    with _ended(process):
        yield Server(settled(listening), 0, log, key, process)


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
