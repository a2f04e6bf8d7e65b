"""Open a connection to an upstream or a peer within the limits it has, through a proxy if need be.

Source: http-api §3.1, §3.5.
"""

from __future__ import annotations

import errno
import socket
import ssl
import sys
from functools import lru_cache

import trio

from llamaswap.config.schema import Timeouts
from llamaswap.nursery.endpoint import Endpoint
from llamaswap.proxy.environment import ProxyServer
from llamaswap.proxy.wire import SocketWire, StreamWire, Wire, tune_tcp

LOOPBACK = ("127.0.0.1", "::1")
HELD_FROM_UPSTREAM = 64 * 1024
"""Bytes of an answer that the kernel holds for us while a client reads slowly, on this machine,
where more buys no speed. A peer far away keeps the system's own sizes, which grow with the way."""
ANSWER_LIMIT = 8192
"""Bytes of a proxy's answer to CONNECT."""


class Unreachable(Exception):
    """No connection came about. The text says with what and why, for the user."""


async def dial(endpoint: Endpoint, limits: Timeouts, via: ProxyServer | None = None) -> Wire:
    """Connect, and shake hands if the endpoint wants TLS. Raises Unreachable.

    `via`: a proxy to go through. Needs at most `connect` seconds, and `tlsHandshake` seconds more;
    0: no limit of ours.
    """
    whom = endpoint.authority if via is None else via.authority
    if via is not None and via.fault:
        raise Unreachable(via.fault)
    try:
        with trio.fail_after(limits.connect or 1e9):
            if via is None:
                sock = await _connect(endpoint.host, endpoint.port)
            else:
                sock = await _connect(via.host, via.port)
                if endpoint.scheme == "https":
                    await _open_tunnel(sock, endpoint, via)
    except trio.TooSlowError as exc:
        raise Unreachable(
            f"{whom} did not accept the connection within {limits.connect} s"
        ) from exc
    except OSError as exc:
        raise Unreachable(f"cannot connect to {whom}: {_reason(exc)}") from exc
    tune_tcp(sock, limits.keepalive)
    if endpoint.scheme != "https":
        return SocketWire(sock, endpoint.host)
    return await shake_hands(sock, endpoint, limits)


async def _open_tunnel(sock: socket.socket, endpoint: Endpoint, via: ProxyServer) -> None:
    """Ask a proxy for a tunnel; close the socket if there is none.

    Raises Unreachable if it refuses, OSError if it is gone.
    """
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    target = f"{host}:{endpoint.port}".encode("idna")
    request = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n" % (target, target)
    if via.authorization:
        request += b"Proxy-Authorization: " + via.authorization + b"\r\n"
    wire, answer = SocketWire(sock), b""
    sock.setblocking(False)
    try:
        await wire.send_all(request + b"\r\n")
        # TLS is the client's turn to speak, so nothing follows the answer
        while b"\r\n\r\n" not in answer and len(answer) < ANSWER_LIMIT:
            more = await wire.recv()
            if not more:
                break
            answer += more
        line = answer.partition(b"\r\n")[0].decode("latin-1")
        if line.split(" ")[1:2] != ["200"]:
            raise Unreachable(f"the proxy {via.authority} answered {line!r} to CONNECT")
    except BaseException:
        wire.close()
        raise


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


def _reason(error: OSError, platform: str = sys.platform) -> str:
    """What the system said, without trio's wrapping of several attempts."""
    causes: tuple[BaseException, ...] = (error.__cause__ or error,)
    if isinstance(error.__cause__, ExceptionGroup):
        causes = error.__cause__.exceptions
    text = "; ".join(dict.fromkeys(map(str, causes)))
    unreachable = any(getattr(exc, "errno", None) == errno.EHOSTUNREACH for exc in causes)
    if platform == "darwin" and unreachable:
        text += (
            "; macOS lets programs reach the local network only with permission: see "
            "Privacy & Security, Local Network, in the system's settings"
        )
    return text


@lru_cache(maxsize=1)
def _tls_context() -> ssl.SSLContext:
    """The system's certificates; SSL_CERT_FILE and SSL_CERT_DIR are honoured."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
