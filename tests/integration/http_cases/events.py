"""A client of `/api/events`, message by message."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httptools
from attrs import define, field

from tests.integration.http_cases.stage import PATIENCE, Connection, Reply, Server


@define
class Message:
    """One message, taken apart."""

    type: str
    data: Any
    at: float = field(factory=time.monotonic)


@define(eq=False)
class Events:
    """An open stream."""

    connection: Connection
    head: Reply = field(factory=Reply)
    raw: bytes = b""
    """Body bytes so far."""
    last_id: str = ""
    _rest: bytes = b""
    _waiting: deque[Message] = field(factory=deque)
    _parser: httptools.HttpResponseParser = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.head.on_header(name, value)

    def on_headers_complete(self) -> None:
        self.head.status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        self.raw += data
        *blocks, self._rest = (self._rest + data).split(b"\n\n")
        for block in blocks:
            for line in block.split(b"\n"):
                if line.startswith(b"data:"):
                    outer = json.loads(line[5:])
                    self._waiting.append(Message(outer["type"], json.loads(outer["data"])))
                elif line.startswith(b"id:"):
                    self.last_id = line[3:].decode()

    def next(self) -> Message:
        """The next message."""
        while not self._waiting:
            data = self.connection.sock.recv(65536)
            assert data, "the stream has ended"
            self._parser.feed_data(data)
        return self._waiting.popleft()

    def until(self, wanted: Callable[[Message], bool]) -> Message:
        """The next message that is wanted; what comes before is passed over."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            message = self.next()
            if wanted(message):
                return message
        raise AssertionError("it did not come")

    def of(self, kind: str) -> Message:
        """The next message of that type."""
        return self.until(lambda message: message.type == kind)

    def has_ended(self) -> bool:
        """Whether the server ends the stream."""
        while data := self.connection.sock.recv(65536):
            self._parser.feed_data(data)
        return True


@contextmanager
def listening(server: Server, query: str = "", **headers: str) -> Iterator[Events]:
    """An open stream of events; its head is read."""
    connection = server.connect()
    try:
        key = {"x-api-key": server.key} if server.key else {}
        connection.send("GET", f"/api/events{query}", {**key, **headers})
        events = Events(connection)
        while not events.head.status:
            events._parser.feed_data(connection.sock.recv(65536))
        yield events
    finally:
        connection.close()
