"""Listeners and the loop of one client connection."""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

import trio

from llamaswap.error_envelope import envelope
from llamaswap.errors import LlamaswapError
from llamaswap.proxy.chunked import ChunkedBody
from llamaswap.proxy.exchange import Exchange
from llamaswap.proxy.http1 import (
    ProtocolViolation,
    RequestHead,
    find_head,
    render_head,
    status_line,
)
from llamaswap.proxy.known_heads import request_heads
from llamaswap.proxy.site import Ongoing, Site
from llamaswap.proxy.wire import SocketWire, StreamWire, Wire, bound_send_buffer, tune_tcp

logger = logging.getLogger(__name__)

BACKLOG = 2048
HEAD_LIMIT = 30.0
"""Seconds from the first byte of a head to its last: slow heads hold no connection for ever."""
CLIENT_KEEPALIVE = 30
PATROL_INTERVAL = 0.25
HANG_UP: int = getattr(select, "POLLRDHUP", 0)
LINGER = 1.0
"""Seconds to read on after a refusal, so that the refusal is not lost in a reset."""


class ListenFailed(LlamaswapError):
    """The address cannot be served on."""


def open_listeners(address: str) -> list[socket.socket]:
    """Bind and listen on `host:port`; an empty host means all interfaces, IPv4 and IPv6.

    Port 0 lets the system choose one. Raises ListenFailed. Source: config §1.2.
    """
    host, colon, port_text = address.rpartition(":")
    if not colon:
        raise ListenFailed(f"-listen {address!r}: needs host:port, such as :8080")
    host = host.strip("[]")
    if port_text and not port_text.isdigit():
        raise ListenFailed(f"-listen {address!r}: {port_text!r} is no port number")
    port = int(port_text or 0)
    if port > 65535:
        raise ListenFailed(f"-listen {address!r}: port {port} is larger than 65535")
    try:
        if not host:
            return _listen_everywhere(port)
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # a name may have several addresses; one is enough, IPv4 preferred
        found.sort(key=lambda entry: entry[0] != socket.AF_INET)
        return [_listen(found[0][0], found[0][4])]
    except OSError as exc:
        reason = os.strerror(exc.errno) if isinstance(exc.errno, int) and exc.errno > 0 else exc
        hint = ""
        if exc.errno == errno.EADDRINUSE:
            hint = "; another program has it, choose another one with -listen host:port"
        raise ListenFailed(f"cannot listen on {address}: {reason}{hint}") from exc


def _listen_everywhere(port: int) -> list[socket.socket]:
    try:
        both = _listen(socket.AF_INET6, ("::", port), dual=True)
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            raise
        return [_listen(socket.AF_INET, ("0.0.0.0", port))]  # noqa: S104  # asked for; no IPv6 here
    return [both]


def _listen(family: int, address: object, *, dual: bool = False) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not dual))
        sock.bind(address)  # type: ignore[arg-type]
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


async def serve(
    site: Site,
    listeners: Sequence[socket.socket],
    tls: ssl.SSLContext | None = None,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Accept and answer until cancelled. Closes the listeners and every connection at its end."""
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(site.pool.sweep, name="idle upstream connections")
            nursery.start_soon(site.pump.run, name="streams")
            nursery.start_soon(_patrol, site, name="watch for clients that left")
            for listener in listeners:
                nursery.start_soon(_accept, site, listener, tls, nursery, name="accept")
            task_status.started()
    finally:
        for listener in listeners:
            if listener.fileno() >= 0:
                trio.lowlevel.notify_closing(listener)
                listener.close()


def stop_accepting(listeners: Sequence[socket.socket]) -> None:
    """Refuse new connections from now on."""
    for listener in listeners:
        if listener.fileno() >= 0:
            trio.lowlevel.notify_closing(listener)
            listener.close()


async def _accept(
    site: Site,
    listener: socket.socket,
    tls: ssl.SSLContext | None,
    nursery: trio.Nursery,
) -> None:
    while True:
        try:
            sock, address = listener.accept()
        except BlockingIOError:
            try:
                await trio.lowlevel.wait_readable(listener)
            except trio.ClosedResourceError:
                return
            continue
        except OSError as exc:
            if listener.fileno() < 0:
                return
            if exc.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                logger.error("cannot accept a connection: %s", exc)  # noqa: TRY400  # expected
                await trio.sleep(0.1)  # until somebody closes something
            continue
        tune_tcp(sock, CLIENT_KEEPALIVE)
        bound_send_buffer(sock)
        peer = address[0].removeprefix("::ffff:") if isinstance(address, tuple) else ""
        nursery.start_soon(_connection, site, sock, peer, tls)


async def _patrol(site: Site) -> None:
    """Cancel exchanges whose client has left.

    One look at all of them four times a second costs less than a waiting task for each, and sees a
    departure even behind requests that were pipelined.
    """
    while True:
        await trio.sleep(PATROL_INTERVAL)
        _cancel_departed(site.ongoing)


def _cancel_departed(ongoing: Iterable[Ongoing]) -> None:
    # its own function: a loop variable of the task would keep the last one, and its upload
    for exchange in _departed(ongoing):
        exchange.scope.cancel(reason="the client has left")


def _departed(ongoing: Iterable[Ongoing]) -> Iterator[Ongoing]:
    """Exchanges whose client has closed its side."""
    watched = {exchange.client_descriptor(): exchange for exchange in ongoing}
    watched.pop(-1, None)  # closed by ourselves
    if not watched:
        return
    if HANG_UP:
        poll = select.poll()
        for descriptor in watched:
            poll.register(descriptor, HANG_UP)
        for descriptor, _ in poll.poll(0):
            yield watched[descriptor]
        return
    for descriptor, exchange in watched.items():  # macOS: blind behind a pipelined request
        peek = socket.socket(fileno=os.dup(descriptor))
        try:
            if not peek.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                yield exchange
        except BlockingIOError:
            continue
        except OSError:
            yield exchange
        finally:
            peek.close()


async def _connection(
    site: Site, sock: socket.socket, peer: str, tls: ssl.SSLContext | None
) -> None:
    """All requests of one client connection, one after the other."""
    wire: Wire
    if tls is None:
        wire = SocketWire(sock, peer)
    else:
        stream = trio.SSLStream(
            trio.SocketStream(trio.socket.from_stdlib_socket(sock)),
            tls,
            server_side=True,
            https_compatible=True,
        )
        wire = StreamWire(stream, peer)
    try:
        with trio.CancelScope() as scope:
            await _requests(site, wire, scope)
    except Exception:  # a bug must cost this connection, not the program
        logger.exception("connection of %s ended by a defect in llamaswap", peer)
    finally:
        wire.close()


async def _requests(site: Site, wire: Wire, scope: trio.CancelScope) -> None:
    buffer = bytearray()
    answerer = site.answerer or Exchange
    while True:
        try:
            head = await _read_head(site, wire, buffer)
            if head is None:
                return
            body = await _read_body(wire, buffer, head)
            if body is None:
                return
        except ProtocolViolation as exc:
            await _refuse(wire, exc)
            return
        exchange = answerer(site, wire, head, body, scope)
        del body  # an upload must not stay in memory while the connection idles
        if not await exchange.run() or site.draining:
            return
        del exchange


async def _read_head(site: Site, wire: Wire, buffer: bytearray) -> RequestHead | None:
    """The next head; None: the client has closed, or the program drains."""
    if not buffer:
        site.idle.add(wire)
        try:
            data = await wire.recv_later()
        finally:
            site.idle.discard(wire)
        if not data:
            return None
        buffer += data
    end = find_head(buffer)
    if not end:
        with trio.move_on_after(HEAD_LIMIT):
            while not end:
                searched = len(buffer)
                data = await wire.recv()
                if not data:
                    return None
                buffer += data
                end = find_head(buffer, searched)
        if not end:
            raise ProtocolViolation(f"request head took longer than {HEAD_LIMIT:g} s", 408)
    head = bytes(buffer[:end])
    del buffer[:end]
    return request_heads.parse(head)


async def _read_body(wire: Wire, buffer: bytearray, head: RequestHead) -> bytearray | None:
    """The whole body; None: the client left in the middle of it.

    The model's name stands in it, and a request may wait for its model, so it is read first.
    """
    if head.length == 0:
        return bytearray()
    if head.expects_continue and not buffer:
        await wire.send_all(b"HTTP/1.1 100 Continue\r\n\r\n")
    if head.length is None:
        chunks = ChunkedBody()
        chunks.feed(buffer)
        while not chunks.done:
            data = await wire.recv()
            if not data:
                return None
            buffer += data
            chunks.feed(buffer)
        return chunks.data
    body = buffer[: head.length]
    del buffer[: head.length]
    while len(body) < head.length:
        data = await wire.recv()
        if not data:
            return None
        body += data
    if len(body) > head.length:
        buffer += body[head.length :]
        del body[head.length :]
    return body


async def _refuse(wire: Wire, error: ProtocolViolation) -> None:
    """Answer a broken request, then close; what the client still sends is read away first."""
    answer = envelope(error)
    headers = [(name.encode(), value.encode()) for name, value in answer.headers]
    headers += [(b"Content-Length", b"%d" % len(answer.body)), (b"Connection", b"close")]
    with suppress(OSError):
        await wire.send_all(render_head(status_line(error.status), headers) + answer.body)
    with trio.move_on_after(LINGER):
        while await wire.recv():
            pass
