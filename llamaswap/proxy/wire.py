"""Non-blocking sockets with as little between them and the kernel as possible.

`recv` and `send` go straight to the socket; trio is asked to wait only when the kernel has nothing.
That takes a third off the cost of a paced chunk against trio's streams. TLS needs those streams, so
a `Wire` is the seam both stand behind.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import trio
from attrs import define, field

RECEIVE_SIZE = 65536
HELD_FOR_CLIENT = 32 * 1024
"""Bytes that may lie unsent in the kernel for one client."""
NOTSENT_LOWAT: int = getattr(socket, "TCP_NOTSENT_LOWAT", 0)


class Wire(Protocol):
    """One connection: bytes in, bytes out, closed once."""

    written: int
    """Bytes given to `send_all` so far."""

    async def recv(self) -> bytes:
        """The next bytes; empty: the other side has closed or is gone."""
        ...

    async def recv_later(self) -> bytes:
        """As `recv`, where nothing can have come yet: spares the first, vain attempt."""
        ...

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything. Raises ConnectionError if the other side is gone."""
        ...

    def close(self) -> None:
        """Close at once; unsent bytes may be lost. A second time does nothing."""
        ...

    def fileno(self) -> int:
        """The socket's descriptor, for watching whether the other side is still there."""
        ...

    def interrupt(self) -> None:
        """Make a pending `recv` return empty, without waiting."""
        ...

    def is_quiet(self) -> bool:
        """Whether nothing has come that was not received, neither bytes nor the end."""
        ...


@define(eq=False)
class SocketWire:
    """A TCP or Unix socket."""

    sock: socket.socket
    peer: str = ""
    """The other side's address without its port."""
    written: int = 0
    """Bytes given to `send_all` so far."""
    _look: Callable[[int], object] | None = None

    async def recv(self) -> bytes:
        """The next bytes; empty: the other side has closed or is gone."""
        while True:
            try:
                return self.sock.recv(RECEIVE_SIZE)
            except BlockingIOError:
                try:
                    await trio.lowlevel.wait_readable(self.sock)
                except trio.ClosedResourceError:
                    return b""
            except OSError:
                return b""

    async def recv_later(self) -> bytes:
        """As `recv`, where nothing can have come yet."""
        try:
            await trio.lowlevel.wait_readable(self.sock)
            return self.sock.recv(RECEIVE_SIZE)
        except BlockingIOError:
            return await self.recv()
        except (OSError, trio.ClosedResourceError):
            return b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything. Raises ConnectionError if the other side is gone."""
        self.written += len(data)
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        if sent == len(data):
            return
        rest = memoryview(data)[sent:]
        while rest:
            try:
                await trio.lowlevel.wait_writable(self.sock)
            except trio.ClosedResourceError as exc:
                raise ConnectionAbortedError("closed while sending") from exc
            with suppress(BlockingIOError):
                rest = rest[self.sock.send(rest) :]

    def close(self) -> None:
        """Close at once, waking whoever waits on the socket."""
        if self.sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self.sock)
            self.sock.close()

    def fileno(self) -> int:
        """The socket's descriptor; negative once closed."""
        return self.sock.fileno()

    def interrupt(self) -> None:
        """Make a pending `recv` return empty, without waiting."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RD)

    def is_quiet(self) -> bool:
        """Whether nothing has come that was not received."""
        if self._look is None:
            self._look = _looker(self.sock.fileno())
        return not self._look(0)


@define(eq=False)
class StreamWire:
    """A trio stream, for TLS."""

    stream: trio.SSLStream[trio.SocketStream]
    peer: str = ""
    written: int = 0
    """Bytes given to `send_all` so far."""
    _closed: bool = field(default=False, init=False)
    _look: Callable[[int], object] | None = None

    async def recv(self) -> bytes:
        """The next bytes; empty: the other side has closed or is gone."""
        try:
            return bytes(await self.stream.receive_some(RECEIVE_SIZE))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""

    async def recv_later(self) -> bytes:
        """As `recv`."""
        return await self.recv()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything. Raises ConnectionError if the other side is gone."""
        self.written += len(data)
        try:
            await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise ConnectionResetError("the TLS connection is gone") from exc

    def close(self) -> None:
        """Close the transport at once, without the goodbye of TLS."""
        if not self._closed:
            self._closed = True
            self.stream.transport_stream.socket.close()

    def fileno(self) -> int:
        """The socket's descriptor; negative once closed."""
        return int(self.stream.transport_stream.socket.fileno())

    def interrupt(self) -> None:
        """Make a pending `recv` return empty, without waiting."""
        with suppress(OSError):
            self.stream.transport_stream.socket.shutdown(socket.SHUT_RD)

    def is_quiet(self) -> bool:
        """Whether nothing has come that was not received, below TLS (a goodbye, most likely)."""
        if self._look is None:
            self._look = _looker(self.fileno())
        return not self._look(0)


def _looker(descriptor: int) -> Callable[[int], object]:
    """What tells for how much of a descriptor there is something to receive, within a time in ms.

    A third of what a vain `recv` costs, which ends in an exception.
    """
    if not hasattr(select, "poll"):
        return lambda _: ()  # found out by using the connection
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return poll.poll


def bound_send_buffer(sock: socket.socket) -> None:
    """Let the kernel hold little for a client that reads slowly, so that its upstream is slowed."""
    if NOTSENT_LOWAT:
        sock.setsockopt(socket.IPPROTO_TCP, NOTSENT_LOWAT, HELD_FOR_CLIENT)


def tune_tcp(sock: socket.socket, keepalive: int) -> None:
    """No delay; probes every `keepalive` seconds notice a peer that vanished; 0: no probes."""
    sock.setblocking(False)
    if sock.family == getattr(socket, "AF_UNIX", None):
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if keepalive > 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        idle = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None))
        if idle is not None:
            sock.setsockopt(socket.IPPROTO_TCP, idle, keepalive)
        if hasattr(socket, "TCP_KEEPINTVL"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, keepalive)


async def connect_unix(path: str) -> SocketWire:
    """Connect to a Unix socket. Raises OSError."""
    stream = await trio.open_unix_socket(path)
    sock = socket.socket(fileno=stream.socket.detach())
    sock.setblocking(False)
    return SocketWire(sock, path)
