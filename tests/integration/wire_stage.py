"""A data plane between raw sockets: scripted upstreams behind it, hand-written bytes before it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import httptools
import trio
from attrs import define, evolve, field

from llamaswap.config.schema import Config, Model, Timeouts
from llamaswap.errors import LlamaswapError
from llamaswap.nursery.endpoint import Endpoint
from llamaswap.nursery.lease import Lease, WaitObserver
from llamaswap.nursery.profile import ActiveProfile
from llamaswap.planning.events import ProcessState
from llamaswap.proxy.server import open_listeners, serve
from llamaswap.proxy.site import Site
from llamaswap.telemetry.access_log import AccessRecord
from llamaswap.telemetry.bus import EventBus

Script: TypeAlias = Callable[["Peer"], Awaitable[None]]


@define(eq=False)
class Peer:
    """One raw connection, with enough HTTP to be readable in tests."""

    stream: trio.SocketStream
    buffer: bytes = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def read_until(self, mark: bytes) -> bytes:
        """Everything up to and with `mark`."""
        while mark not in self.buffer:
            data = await self.stream.receive_some(65536)
            assert data, f"closed before {mark!r} came; got {self.buffer!r}"
            self.buffer += data
        end = self.buffer.index(mark) + len(mark)
        found, self.buffer = self.buffer[:end], self.buffer[end:]
        return found

    async def read_exactly(self, length: int) -> bytes:
        while len(self.buffer) < length:
            data = await self.stream.receive_some(65536)
            assert data, f"closed early; got {self.buffer!r}"
            self.buffer += data
        found, self.buffer = self.buffer[:length], self.buffer[length:]
        return found

    async def read_to_end(self) -> bytes:
        """Everything until the other side closes or resets."""
        try:
            while data := await self.stream.receive_some(65536):
                self.buffer += data
        except trio.BrokenResourceError:
            pass
        found, self.buffer = self.buffer, b""
        return found

    async def request(self) -> tuple[bytes, bytes]:
        """The next request an upstream gets: head and body."""
        head = await self.read_until(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return head, await self.read_exactly(length)

    async def response(self) -> Answer:
        """The next response a client gets, whole."""
        answer = Answer()
        parser = httptools.HttpResponseParser(answer)
        while not answer.complete:
            if not self.buffer:
                self.buffer = bytes(await self.stream.receive_some(65536))
                assert self.buffer, f"closed in the middle of a response: {answer}"
            # byte by byte, so that what follows the response stays in the buffer
            step, self.buffer = self.buffer[:1], self.buffer[1:]
            parser.feed_data(step)
        answer.status = parser.get_status_code()
        return answer

    async def is_closed(self, within: float = 5.0) -> bool:
        """Whether the other side closes in time, whatever it still sends."""
        with trio.move_on_after(within):
            await self.read_to_end()
            return True
        return False


@define
class Answer:
    """A parsed response."""

    status: int = 0
    headers: dict[str, str] = field(factory=dict)
    pairs: list[tuple[str, str]] = field(factory=list)
    body: bytes = b""
    complete: bool = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.pairs.append((name.decode(), value.decode()))
        self.headers[name.decode().lower()] = value.decode()

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True


@define(eq=False)
class FixedLeases:
    """A lease source with a fixed address per model, and gates to wait at."""

    endpoints: dict[str, Endpoint] = field(factory=dict)
    timeouts: Timeouts = field(factory=Timeouts)
    gate: trio.Event | None = None
    error: LlamaswapError | None = None
    """Refuses at once."""
    late_error: LlamaswapError | None = None
    """Refuses after the gate."""
    observer: WaitObserver | None = None
    """Of the newest request."""
    ready: bool = True
    waiting: int = 0
    held: int = 0
    runs: int = 1

    @asynccontextmanager
    async def lease(self, model: str, observer: WaitObserver | None = None) -> AsyncIterator[Lease]:
        if self.error is not None:
            raise self.error
        if observer is not None:
            self.observer = observer
            observer.admitted()
        if self.gate is not None:
            self.waiting += 1
            try:
                await self.gate.wait()
            finally:
                self.waiting -= 1
        if self.late_error is not None:
            raise self.late_error
        self.held += 1
        try:
            yield self._lease(model)
        finally:
            self.held -= 1

    def ready_lease(self, model: str) -> Lease | None:
        return self._lease(model) if self.ready else None

    def state(self, model: str) -> ProcessState | None:
        if model not in self.endpoints:
            return None
        return ProcessState.READY if self.ready else ProcessState.STOPPED

    def _lease(self, model: str) -> Lease:
        return Lease(model, self.endpoints[model], self.runs, self.timeouts)


@define(eq=False)
class Stage:
    """Everything a test of the data plane touches."""

    nursery: trio.Nursery
    site: Site
    leases: FixedLeases
    port: int
    finished: list[AccessRecord] = field(factory=list)
    clients: list[Peer] = field(factory=list)
    connections: int = 0

    async def client(self) -> Peer:
        peer = Peer(await trio.open_tcp_stream("127.0.0.1", self.port))
        self.clients.append(peer)
        return peer

    async def upstream(self, script: Script, model: str = "m", path: str = "") -> None:
        """Serve `model` by a script that runs once per connection."""

        async def handle(stream: trio.SocketStream) -> None:
            self.connections += 1
            async with stream:
                try:
                    await script(Peer(stream))
                except (trio.BrokenResourceError, trio.ClosedResourceError, AssertionError):
                    pass

        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        self.leases.endpoints[model] = Endpoint.parse(f"http://127.0.0.1:{port}{path}")
        self.nursery.start_soon(trio.serve_listeners, handle, listeners)

    def configure(self, **changes: Any) -> None:
        self.site.reconfigure(evolve(self.site.config, **changes))


@asynccontextmanager
async def stage(*models: Model, **keys: Any) -> AsyncIterator[Stage]:
    """A data plane for these models (default: one called m)."""
    known = models or (Model(id="m", aliases=("alias-of-m",)),)
    config = Config(
        models={model.id: model for model in known},
        aliases={alias: model.id for model in known for alias in model.aliases},
        **keys,
    )
    leases = FixedLeases()
    listeners = open_listeners("127.0.0.1:0")
    async with trio.open_nursery() as nursery:
        profile = ActiveProfile(config.profiles, EventBus())
        site = Site(config, leases, "/nonexistent/control.sock", profile)
        made = Stage(nursery, site, leases, listeners[0].getsockname()[1])
        site.on_finished = made.finished.append
        await nursery.start(serve, site, listeners)
        try:
            yield made
        finally:
            for client in made.clients:
                client.stream.socket.close()
        nursery.cancel_scope.cancel()


def post(body: bytes, path: str = "/v1/chat/completions", *headers: str) -> bytes:
    """A JSON request as bytes."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: test",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def get(path: str, *headers: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: test", *headers]).encode() + b"\r\n\r\n"


def ok(body: bytes, *headers: str) -> bytes:
    """A sized 200 as bytes."""
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
