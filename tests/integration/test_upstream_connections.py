"""Connections to upstreams: limits, reuse, asking twice, how much is held. Source: http-api §3."""

from __future__ import annotations

import array
import fcntl
import socket
import ssl
import sys
import termios
from pathlib import Path

import pytest
import trio

from llamaswap.config.schema import Timeouts
from llamaswap.nursery.endpoint import Endpoint
from llamaswap.proxy import dial as dialling
from llamaswap.proxy.dial import Unreachable, dial
from llamaswap.proxy.wire import SocketWire
from tests.integration.certificates import self_signed
from tests.integration.processes import settled
from tests.integration.wire_stage import Peer, get, ok, post, stage

CHAT = b'{"model":"m","messages":[]}'
linux = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux what was acknowledged")


# --- asking twice ---------------------------------------------------------------------------------


async def takes_the_second(peer: Peer) -> None:
    """Answer one request; take the next one and close without a byte."""
    await peer.request()
    await peer.send(ok(b"one"))
    await peer.request()


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_idempotent_requests_are_asked_again_on_a_new_connection(method: str) -> None:
    async with stage() as here:
        await here.upstream(takes_the_second)
        client = await here.client()
        for _ in range(3):
            await client.send(get("/upstream/m/x", "Content-Length: 0", method=method))
            assert (await client.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            if method != "HEAD":
                assert await client.read_exactly(3) == b"one"
        assert here.connections == 3


async def test_a_generation_that_an_upstream_took_is_never_started_twice() -> None:
    async with stage() as here:
        await here.upstream(takes_the_second)
        client = await here.client()
        await client.send(post(CHAT))
        assert (await client.response()).body == b"one"
        await client.send(post(CHAT))
        answer = await client.response()
        assert answer.status == 502
        assert "closed the connection without an answer" in answer.body.decode()
        assert here.connections == 1


@linux
async def test_a_generation_no_upstream_took_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The upstream closes in the very moment its idle connection is used."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok(b"one"))
        peer.stream.socket.close()

    # the race itself: our look at the connection comes just before the close
    monkeypatch.setattr(SocketWire, "is_quiet", lambda _wire: True)
    async with stage() as here:
        await here.upstream(script)
        client = await here.client()
        for number in range(1, 4):
            await client.send(post(CHAT))
            assert (await client.response()).body == b"one"
            assert here.connections == number


async def test_a_closed_idle_connection_is_not_used_at_all() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok(b"one"))

    async with stage() as here:
        await here.upstream(script)
        client = await here.client()
        for number in range(1, 4):
            await client.send(post(CHAT))
            assert (await client.response()).body == b"one"
            assert here.connections == number


async def test_idle_connections_expire() -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(ok(b"one"))

    async with stage() as here:
        here.leases.timeouts = Timeouts(idle_conn=1)
        await here.upstream(script)
        client = await here.client()
        await client.send(post(CHAT))
        await client.response()
        assert len(here.site.pool) == 1

        def swept() -> bool:
            here.site.pool.sweep_once()
            return len(here.site.pool) == 0

        await settled(swept, within=5)


# --- Expect ---------------------------------------------------------------------------------------

LARGE = b'{"model":"m","x":"' + b"x" * 200_000 + b'"}'


async def ask_first(client: Peer, body: bytes) -> None:
    """Send a request as curl sends it with a large body."""
    head, _, _ = post(body).partition(b"\r\n\r\n")
    await client.send(head + b"\r\nExpect: 100-continue\r\n\r\n")
    assert await client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.send(body)


async def test_an_upstream_is_asked_before_a_large_body_is_sent() -> None:
    async def script(peer: Peer) -> None:
        head = await peer.read_until(b"\r\n\r\n")
        assert b"\r\nExpect: 100-continue\r\n" in head
        assert peer.buffer == b""
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await peer.read_exactly(len(LARGE)) == LARGE
        await peer.send(ok(b"all of it"))

    async with stage() as here:
        here.leases.timeouts = Timeouts(expect_continue=60)
        await here.upstream(script)
        client = await here.client()
        await ask_first(client, LARGE)
        assert (await client.response()).body == b"all of it"


async def test_an_upstream_that_ignores_the_question_gets_the_body_all_the_same() -> None:
    async def script(peer: Peer) -> None:
        _, body = await peer.request()
        await peer.send(ok(b"%d" % len(body)))

    async with stage() as here:
        await here.upstream(script)
        client = await here.client()
        await ask_first(client, LARGE)
        assert (await client.response()).body == b"%d" % len(LARGE)


async def test_an_upstream_that_refuses_never_gets_the_body_nor_another_request() -> None:
    async def script(peer: Peer) -> None:
        await peer.read_until(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        assert await peer.read_to_end() == b""

    async with stage() as here:
        here.leases.timeouts = Timeouts(expect_continue=60)
        await here.upstream(script)
        client = await here.client()
        for number in (1, 2):
            await ask_first(client, LARGE)
            answer = await client.response()
            assert (answer.status, answer.body) == (413, b"no")
            assert here.connections == number


async def test_small_bodies_and_a_limit_of_zero_are_sent_at_once() -> None:
    async def script(peer: Peer) -> None:
        head, body = await peer.request()
        assert b"expect" not in head.lower()
        await peer.send(ok(b"%d" % len(body)))

    for limit, body in ((1, CHAT), (0, LARGE)):
        async with stage() as here:
            here.leases.timeouts = Timeouts(expect_continue=limit)
            await here.upstream(script)
            client = await here.client()
            await ask_first(client, body)
            assert (await client.response()).body == b"%d" % len(body)


# --- connecting -----------------------------------------------------------------------------------


@linux
async def test_connecting_has_its_limit() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = []
        try:
            for _ in range(4):  # more than the queue takes: the next SYN is dropped
                other = socket.socket()
                other.setblocking(False)
                other.connect_ex(("127.0.0.1", port))
                waiting.append(other)
            with pytest.raises(Unreachable, match="did not accept the connection within 1 s"):
                await dial(Endpoint.parse(f"http://127.0.0.1:{port}"), Timeouts(connect=1))
        finally:
            for other in waiting:
                other.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_refused_connection_says_where_and_why(host: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(Unreachable, match=f"cannot connect to {host}:{port}: .*refused"):
        await dial(Endpoint.parse(f"http://{host}:{port}"), Timeouts())


@linux
@pytest.mark.parametrize(("keepalive", "on"), [(7, 1), (0, 0), (-1, 0)])
async def test_keepalive_probes_are_as_configured(keepalive: int, on: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        wire = await dial(Endpoint.parse(f"http://localhost:{port}"), Timeouts(keepalive=keepalive))
        assert isinstance(wire, SocketWire)
        assert wire.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == on
        if on:
            assert wire.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == keepalive
        wire.close()


# --- TLS ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_signed(tmp_path_factory.mktemp("tls"), "localhost")


@pytest.mark.parametrize("closes", [False, True], ids=["kept", "closed while idle"])
async def test_an_https_upstream_is_carried_and_its_connections_reused(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, closes: bool
) -> None:
    cert, key = certificate
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    trusting = ssl.create_default_context(cafile=str(cert))
    monkeypatch.setattr(dialling, "_tls_context", lambda: trusting)
    connections = 0

    async def handle(stream: trio.SocketStream) -> None:
        nonlocal connections
        connections += 1
        async with trio.SSLStream(stream, server, server_side=True, https_compatible=True) as tls:
            peer = Peer(tls)  # type: ignore[arg-type]
            while True:
                try:
                    _, body = await peer.request()
                except (AssertionError, trio.BrokenResourceError):
                    return
                await peer.send(ok(body, "X-Was: secret"))
                if closes:
                    return

    async with stage() as here:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        here.leases.endpoints["m"] = Endpoint.parse(f"https://localhost:{port}")
        here.nursery.start_soon(trio.serve_listeners, handle, listeners)
        client = await here.client()
        for number in range(1, 4):
            await client.send(post(CHAT))
            answer = await client.response()
            assert (answer.body, answer.headers["x-was"]) == (CHAT, "secret")
            assert connections == (number if closes else 1)


async def test_a_certificate_nobody_vouches_for_is_refused(certificate: tuple[Path, Path]) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*certificate)

    async def handle(stream: trio.SocketStream) -> None:
        try:
            async with trio.SSLStream(stream, server, server_side=True) as tls:
                await tls.do_handshake()
        except trio.BrokenResourceError:
            pass

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, handle, listeners)
        with pytest.raises(Unreachable, match=r"TLS handshake with localhost:.* failed: .*certif"):
            await dial(Endpoint.parse(f"https://localhost:{port}"), Timeouts())
        nursery.cancel_scope.cancel()


async def test_a_tls_handshake_has_its_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(Unreachable, match="did not finish the TLS handshake within 1 s"):
            await dial(Endpoint.parse(f"https://localhost:{port}"), Timeouts(tls_handshake=1))


# --- backpressure ---------------------------------------------------------------------------------


def pending(sock: socket.socket, request: int) -> int:
    """Bytes in a socket's kernel queue, as the system counts them."""
    size = array.array("i", [0])
    fcntl.ioctl(sock.fileno(), request, size)
    return size[0]


@linux
async def test_a_client_that_stops_reading_holds_a_quarter_of_a_megabyte_at_most() -> None:
    """Counted end to end: what the upstream got rid of and the client has not got yet."""
    sent = 0
    upstream: list[socket.socket] = []

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        sock = socket.socket(fileno=peer.stream.socket.detach())
        upstream.append(sock)
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        data = head
        while True:
            try:
                count = sock.send(data)
                sent += count
                data = data[count:] or chunk
            except BlockingIOError:
                await trio.lowlevel.wait_writable(sock)
            except OSError:
                return

    async with stage() as here:
        await here.upstream(script)
        client = await here.client()
        await client.send(post(CHAT))
        # at full speed first: kernels enlarge their buffers for those who read fast
        got = 0
        while got < 30_000_000:
            got += len(await client.stream.receive_some(1_000_000))
        before = -1
        while before != sent:  # until nothing moves any more
            before = sent
            await trio.sleep(0.3)
        got += pending(client.stream.socket._sock, termios.FIONREAD)  # type: ignore[attr-defined]
        held = sent - pending(upstream[0], termios.TIOCOUTQ) - got
        assert 0 <= held <= 256 * 1024
        while got < 60_000_000:  # and it goes on when the client does
            got += len(await client.stream.receive_some(1_000_000))
        await client.stream.aclose()
        await settled(lambda: here.leases.held == 0)
        for sock in upstream:
            sock.close()
