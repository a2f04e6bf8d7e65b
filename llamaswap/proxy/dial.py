"""Open a connection to an upstream or a peer: directly, with TLS, through a proxy.

Source: http-api §3.1, §3.5.
"""

from __future__ import annotations

import errno
import ssl
import sys
from functools import lru_cache

import trio

from llamaswap.config.schema import Timeouts
from llamaswap.nursery.endpoint import Endpoint
from llamaswap.proxy.environment import ProxyServer, is_loopback
from llamaswap.proxy.wire import StreamWire, Wire, connect_tcp, tune_tcp

ANSWER_LIMIT = 8192
"""Bytes of a proxy's answer to CONNECT."""


class DialFailed(Exception):
    """Nobody could be reached; the text says who and why."""


async def dial(endpoint: Endpoint, timeouts: Timeouts, via: ProxyServer | None = None) -> Wire:
    """Connect to `endpoint`, within its limits for TCP and TLS. The caller closes the wire.

    Raises DialFailed.
    """
    if via is not None and via.fault:
        raise DialFailed(via.fault)
    host, port = (endpoint.host, endpoint.port) if via is None else (via.host, via.port)
    try:
        with trio.fail_after(timeouts.connect or 1e9):
            if endpoint.scheme == "http":
                return await connect_tcp(host, port, timeouts.keepalive)
            stream = await trio.open_tcp_stream(host, port)
            if via is not None:
                await _open_tunnel(stream, endpoint, via)
    except trio.TooSlowError as exc:
        raise DialFailed(
            f"{_shown(host, port)} did not accept within {timeouts.connect} s"
        ) from exc
    except OSError as exc:
        raise DialFailed(f"cannot connect to {_shown(host, port)}: {_reason(exc)}") from exc
    tune_tcp(stream.socket._sock, timeouts.keepalive)  # type: ignore[attr-defined]  # noqa: SLF001  # trio gives no other way to the socket that keeps it
    return await _with_tls(stream, endpoint, timeouts.tls_handshake)


async def _with_tls(stream: trio.SocketStream, endpoint: Endpoint, limit: int) -> Wire:
    # a server on this machine has a certificate of its own making, and nobody in between
    context = tls_context(verified=not is_loopback(endpoint.host))
    secure = trio.SSLStream(stream, context, server_hostname=endpoint.host, https_compatible=True)
    try:
        with trio.fail_after(limit or 1e9):
            await secure.do_handshake()
    except trio.TooSlowError as exc:
        stream.socket.close()
        raise DialFailed(f"no TLS handshake with {endpoint.authority} within {limit} s") from exc
    except (trio.BrokenResourceError, OSError) as exc:
        stream.socket.close()
        cause = exc.__cause__ or exc
        raise DialFailed(f"no TLS handshake with {endpoint.authority}: {cause}") from exc
    except BaseException:
        stream.socket.close()
        raise
    return StreamWire(secure, endpoint.host)


async def _open_tunnel(stream: trio.SocketStream, endpoint: Endpoint, via: ProxyServer) -> None:
    """Ask a proxy for a tunnel. Raises DialFailed if it refuses, OSError if it is gone."""
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    target = f"{host}:{endpoint.port}".encode("idna" if not host.isascii() else "ascii")
    request = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n" % (target, target)
    if via.authorization:
        request += b"Proxy-Authorization: " + via.authorization + b"\r\n"
    answer = b""
    try:
        await stream.send_all(request + b"\r\n")
        # TLS is the client's turn to speak, so nothing follows the answer
        while b"\r\n\r\n" not in answer and len(answer) < ANSWER_LIMIT:
            more = await stream.receive_some(ANSWER_LIMIT)
            if not more:
                break
            answer += more
    except trio.BrokenResourceError as exc:
        stream.socket.close()
        raise ConnectionResetError(f"the proxy closed the connection: {exc}") from exc
    except BaseException:
        stream.socket.close()
        raise
    line = answer.partition(b"\r\n")[0].decode("latin-1")
    if line.split(" ")[1:2] != ["200"]:
        stream.socket.close()
        shown = line or "nothing"
        raise DialFailed(f"the proxy {via.host}:{via.port} answered {shown!r} to CONNECT")


@lru_cache(maxsize=2)
def tls_context(*, verified: bool) -> ssl.SSLContext:
    """What we trust as a client: the system's authorities, and `SSL_CERT_FILE`'s."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if not verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reason(error: OSError, platform: str = sys.platform) -> str:
    text = error.strerror or str(error)
    if platform == "darwin" and error.errno == errno.EHOSTUNREACH:
        text += (
            "; macOS lets programs reach the local network only with permission: see "
            "Privacy & Security, Local Network, in the system's settings"
        )
    return text
