"""Open a connection to an upstream or a peer within the limits it has. Source: http-api §3.5."""

from __future__ import annotations

import socket
import ssl
from functools import lru_cache

import trio

from llamaswap.config.schema import Timeouts
from llamaswap.nursery.endpoint import Endpoint
from llamaswap.proxy.wire import SocketWire, StreamWire, Wire, tune_tcp

LOOPBACK = ("127.0.0.1", "::1")
HELD_FROM_UPSTREAM = 64 * 1024
"""Bytes of an answer that the kernel holds for us while a client reads slowly, on this machine,
where more buys no speed. A peer far away keeps the system's own sizes, which grow with the way."""


class Unreachable(Exception):
    """No connection came about. The text says with what and why, for the user."""


async def dial(endpoint: Endpoint, limits: Timeouts) -> Wire:
    """Connect, and shake hands if the endpoint wants TLS. Raises Unreachable.

    Needs at most `connect` seconds, and `tlsHandshake` seconds more; 0: no limit of ours.
    """
    try:
        with trio.fail_after(limits.connect or 1e9):
            sock = await _connect(endpoint.host, endpoint.port)
    except trio.TooSlowError as exc:
        raise Unreachable(
            f"{endpoint.authority} did not accept the connection within {limits.connect} s"
        ) from exc
    except OSError as exc:
        raise Unreachable(f"cannot connect to {endpoint.authority}: {_reason(exc)}") from exc
    tune_tcp(sock, limits.keepalive)
    if endpoint.scheme != "https":
        return SocketWire(sock, endpoint.host)
    return await shake_hands(sock, endpoint, limits)


async def shake_hands(sock: socket.socket, endpoint: Endpoint, limits: Timeouts) -> Wire:
    """Begin TLS on a connected socket, which is closed if that fails. Raises Unreachable."""
    stream = trio.SSLStream(
        trio.SocketStream(trio.socket.from_stdlib_socket(sock)),
        _tls_context(),
        server_hostname=endpoint.host,
        https_compatible=True,
    )
    wire = StreamWire(stream, endpoint.host)
    try:
        with trio.fail_after(limits.tls_handshake or 1e9):
            await stream.do_handshake()
    except BaseException as exc:
        wire.close()
        match exc:
            case trio.TooSlowError():
                raise Unreachable(
                    f"{endpoint.authority} did not finish the TLS handshake within "
                    f"{limits.tls_handshake} s"
                ) from exc
            case trio.BrokenResourceError() | OSError():
                cause = exc.__cause__ or exc
                raise Unreachable(
                    f"TLS handshake with {endpoint.authority} failed: {cause}"
                ) from exc
            case _:
                raise
    return wire


async def _connect(host: str, port: int) -> socket.socket:
    """A connected socket. Raises OSError."""
    if host in LOOPBACK:
        return await _connect_here(host, port)
    if host == "localhost":
        # the default of `proxy`: asking the resolver costs a thread, and the answer is known
        for address in LOOPBACK:
            try:
                return await _connect_here(address, port)
            except OSError:
                continue
    stream = await trio.open_tcp_stream(host, port)
    return socket.socket(fileno=stream.socket.detach())


async def _connect_here(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, HELD_FROM_UPSTREAM)
        await sock.connect((address, port))
    except BaseException:
        sock.close()
        raise
    return socket.socket(fileno=sock.detach())


def _reason(error: OSError) -> str:
    """What the system said, without trio's wrapping of several attempts."""
    if isinstance(error.__cause__, ExceptionGroup):
        return "; ".join(dict.fromkeys(str(exc) for exc in error.__cause__.exceptions))
    return str(error.__cause__ or error)


@lru_cache(maxsize=1)
def _tls_context() -> ssl.SSLContext:
    """The system's certificates; SSL_CERT_FILE and SSL_CERT_DIR are honoured."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
