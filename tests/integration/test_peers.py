"""Requests that are forwarded to other servers. Source: http-api §2.2, §3.1, §3.2, §3.5, §3.6."""

from __future__ import annotations

import errno
import json
import ssl
from pathlib import Path

import pytest
import trio

from llamaswap.config.schema import Filters, Model, Peer, Profile, Selector, Timeouts
from llamaswap.nursery.endpoint import Endpoint
from llamaswap.proxy import dial as dialling
from llamaswap.proxy.directory import Directory
from llamaswap.proxy.environment import OutgoingProxies, ProxyServer
from tests.integration.certificates import self_signed
from tests.integration.wire_stage import Peer as Wire
from tests.integration.wire_stage import Stage, get, ok, post, stage

OURS = ("ours", "also-ours")


async def echo(wire: Wire) -> None:
    """Answer every request with what it was."""
    while True:
        head, body = await wire.request()
        await wire.send(ok(head + b"|" + body))


async def peer_at(here: Stage, script: object, **keys: object) -> str:
    """A peer called p with the models a and b/c, behind a script; its host and port."""
    await here.upstream(script, "behind")  # type: ignore[arg-type]
    authority = here.leases.endpoints.pop("behind").authority
    path = str(keys.pop("path", ""))
    peer = Peer(id="p", proxy=f"http://{authority}{path}", models=("a", "b/c"), **keys)  # type: ignore[arg-type]
    here.configure(peers={"p": peer})
    return authority


async def ask(here: Stage, request: bytes) -> tuple[int, bytes, bytes]:
    """Status, head and body that the peer saw (or our own error's body)."""
    client = await here.client()
    await client.send(request)
    answer = await client.response()
    head, _, body = answer.body.partition(b"|")
    return answer.status, head, body


async def test_a_peer_is_reached_by_its_full_and_by_its_bare_name() -> None:
    async with stage() as here:
        authority = await peer_at(here, echo, path="/base/?tag=1")
        for name, body in (
            ("p/a", b'{"model":"a","x":1.0}'),
            ("a", b'{"model":"a","x":1.0}'),
            ("p/b/c", b'{"model":"b/c","x":1.0}'),
        ):
            request = f'{{"model":"{name}","x":1.0}}'.encode()
            status, head, seen = await ask(here, post(request, "/v1/chat/completions?q=%2F"))
            assert (status, seen) == (200, body)
            assert head.startswith(b"POST /base/v1/chat/completions?tag=1&q=%2F HTTP/1.1\r\n")
            assert f"Host: {authority}\r\n".encode() in head
            assert b"Host: test" not in head
            assert b"Content-Length: %d\r\n" % len(body) in head
        assert here.connections == 1  # the idle one is there for every client
        assert here.leases.held == 0


async def test_connections_to_a_peer_are_used_again() -> None:
    async with stage() as here:
        await peer_at(here, echo)
        client = await here.client()
        for _ in range(5):
            await client.send(post(b'{"model":"a"}'))
            assert (await client.response()).status == 200
        assert here.connections == 1
        here.configure(health_check_timeout=5)  # a reload that leaves the peer as it is
        await client.send(post(b'{"model":"a"}'))
        assert (await client.response()).status == 200
        assert here.connections == 1


async def test_a_changed_peer_gets_new_connections() -> None:
    async with stage() as here:
        await peer_at(here, echo)
        await ask(here, post(b'{"model":"a"}'))
        peer = here.site.config.peers["p"]
        here.configure(peers={"p": Peer(id="p", proxy=peer.proxy, models=("a",), api_key="new")})
        _, head, _ = await ask(here, post(b'{"model":"a"}'))
        assert here.connections == 2
        assert b"Bearer new" in head


async def test_what_tells_about_the_client_or_the_connection_stays_here() -> None:
    async with stage() as here:
        await peer_at(here, echo)
        dropped = [
            "X-Forwarded-For: 9.9.9.9",
            "Forwarded: for=1",
            "X-Forwarded-Host: a",
            "X-Forwarded-Proto: https",
            "Connection: keep-alive, X-Foo",
            "X-Foo: 1",
            "Proxy-Authorization: p",
        ]
        kept = ["X-Real-IP: 1.2.3.4", "Cookie: a=b", "Origin: http://x", "Referer: http://y"]
        _, head, _ = await ask(here, post(b'{"model":"a"}', "/v1/embeddings", *dropped, *kept))
        for line in dropped:
            assert line.partition(":")[0].lower().encode() + b":" not in head.lower(), line
        for line in kept:
            assert line.encode() in head


async def test_the_key_of_a_peer_takes_the_place_of_every_credential() -> None:
    async with stage(api_keys=OURS) as here:
        await peer_at(here, echo, api_key="theirs")
        for mine in ("Authorization: Bearer ours", "x-api-key: ours"):
            _, head, _ = await ask(here, post(b'{"model":"a"}', "/v1/messages", mine, "X-Y: 1"))
            assert b"ours" not in head
            assert head.count(b"Authorization: Bearer theirs\r\n") == 1
            assert head.count(b"x-api-key: theirs\r\n") == 1
            assert head.lower().count(b"authorization") == 1


@pytest.mark.parametrize(
    "credentials",
    [
        ["Authorization: Bearer ours"],
        ["Authorization: bearer also-ours"],
        ["x-api-key: ours"],
        ["Authorization: Basic dTpvdXJz"],  # u:ours
        ["Authorization: Bearer ours", "X-Api-Key: also-ours"],
        ["Authorization: Bearer ours", "Authorization: Bearer also-ours"],
    ],
)
async def test_our_own_keys_never_reach_a_peer_without_a_key(credentials: list[str]) -> None:
    async with stage(api_keys=OURS) as here:
        await peer_at(here, echo)
        status, head, _ = await ask(here, post(b'{"model":"a"}', "/v1/embeddings", *credentials))
        assert status == 200
        assert b"ours" not in head
        assert b"dTpvdXJz" not in head
        status, head, _ = await ask(here, get("/upstream/p/a/x", *credentials))
        assert status == 200
        assert b"ours" not in head


async def test_a_client_s_own_credential_for_the_peer_passes() -> None:
    async with stage(api_keys=OURS) as here:
        await peer_at(here, echo)
        lines = ("x-api-key: ours", "Authorization: Token for-the-peer")
        _, head, _ = await ask(here, post(b'{"model":"a"}', "/v1/embeddings", *lines))
        assert b"Authorization: Token for-the-peer\r\n" in head
        assert b"x-api-key" not in head


async def test_filters_of_a_peer_go_by_the_requested_name() -> None:
    filters = Filters(
        strip_params=("t",), set_params={"zdr": True}, set_params_by_id={"p/a": {"zdr": False}}
    )
    async with stage() as here:
        await peer_at(here, echo, filters=filters)
        _, _, body = await ask(here, post(b'{"model":"a","t":1}'))
        assert body == b'{"model":"a","zdr":true}'
        _, _, body = await ask(here, post(b'{"model":"p/a","t":1}'))
        assert body == b'{"model":"a","zdr":false}'


@pytest.mark.parametrize(
    ("kind", "body", "seen"),
    [
        ("application/x-www-form-urlencoded", b"x=1&model=p/a&y", b"x=1&model=a&y"),
        (
            "multipart/form-data; boundary=B",
            b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\np/a\r\n--B--\r\n',
            b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\na\r\n--B--\r\n',
        ),
    ],
)
@pytest.mark.parametrize("path", ["/v1/images/edits", "/upstream/p/a/v1/images/edits"])
async def test_forms_get_the_peer_s_own_name(
    kind: str, body: bytes, seen: bytes, path: str
) -> None:
    async with stage() as here:
        await peer_at(here, echo)
        request = (
            f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        status, _, found = await ask(here, request)
        assert (status, found) == (200, seen)


async def test_below_upstream_only_the_name_that_was_asked_for_changes() -> None:
    async with stage() as here:
        await peer_at(here, echo, filters=Filters(set_params={"zdr": True}))
        for body, seen in (
            (b'{"model":"p/a", "t":1}', b'{"model":"a", "t":1}'),
            (b'{"model":"other"}', b'{"model":"other"}'),
            (b"no json", b"no json"),
        ):
            _, _, found = await ask(here, post(body, "/upstream/p/a/v1/x"))
            assert found == seen
        _, head, _ = await ask(here, get("/upstream/p/a/v1/x?model=p/a&y=%2f"))
        assert head.startswith(b"GET /v1/x?model=a&y=%2f HTTP/1.1\r\n")
        _, head, _ = await ask(here, get("/upstream/a/v1/x?model=a"))
        assert head.startswith(b"GET /v1/x?model=a HTTP/1.1\r\n")


async def test_a_peer_that_does_not_answer_in_time() -> None:
    async def silent(wire: Wire) -> None:
        await wire.request()
        await wire.read_to_end()

    async with stage() as here:
        await peer_at(here, silent, timeouts=Timeouts(response_header=1))
        status, error, _ = await ask(here, post(b'{"model":"a"}'))
        assert status == 502
        said = json.loads(error)["error"]
        assert said["message"].startswith("peer proxy error: p")
        assert said["code"] == "bad_gateway"


async def test_a_slow_body_of_a_peer_is_not_cut() -> None:
    async def slow(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n1")
        await trio.sleep(1.3)
        await wire.send(b"2")

    async with stage() as here:
        await peer_at(here, slow, timeouts=Timeouts(response_header=1))
        assert await ask(here, post(b'{"model":"a"}')) == (200, b"12", b"")


async def test_a_peer_whose_address_is_none_is_named() -> None:
    async with stage() as here:
        here.configure(peers={"p": Peer(id="p", proxy="ftp://x", models=("a",))})
        status, error, _ = await ask(here, post(b'{"model":"a"}'))
        assert status == 502
        assert b"peer proxy error: p: 'ftp://x' is no http:// or https:// URL" in error


async def test_a_host_that_macos_hides_gets_a_hint() -> None:
    error = OSError(errno.EHOSTUNREACH, "No route to host")
    assert "Local Network" in dialling._reason(error, "darwin")
    assert "Local Network" not in dialling._reason(error, "linux")


# --- proxies of the environment -------------------------------------------------------------------


async def test_a_proxy_of_the_environment_gets_the_whole_url_and_its_own_credentials() -> None:
    async with stage() as here:
        await here.upstream(echo, "proxy")
        at = here.leases.endpoints.pop("proxy")
        here.site.proxies = OutgoingProxies.of(
            {"HTTP_PROXY": f"http://me:secret@127.0.0.1:{at.port}"}
        )
        here.site.directory = Directory()  # nothing of what was made without the proxy
        here.configure(
            peers={"p": Peer(id="p", proxy="http://far.invalid:81/base", models=("a",))},
            models={"m": Model(id="m", proxy="http://near.invalid")},
        )
        _, head, _ = await ask(here, post(b'{"model":"a"}', "/v1/embeddings"))
        assert head.startswith(b"POST http://far.invalid:81/base/v1/embeddings HTTP/1.1\r\n")
        assert b"Host: far.invalid:81\r\n" in head
        assert b"Proxy-Authorization: Basic bWU6c2VjcmV0\r\n" in head
        here.leases.endpoints["m"] = Endpoint.parse("http://near.invalid")
        _, head, _ = await ask(here, post(b'{"model":"m"}'))
        assert head.startswith(b"POST http://near.invalid/v1/chat/completions HTTP/1.1\r\n")
        assert b"Host: test\r\n" in head
        assert b"Proxy-Authorization: Basic bWU6c2VjcmV0\r\n" in head


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for far.invalid and its key."""
    return self_signed(tmp_path_factory.mktemp("tls"), "far.invalid")


async def test_an_https_peer_is_reached_through_a_tunnel_that_the_proxy_opens(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_side.load_cert_chain(*certificate)
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    monkeypatch.setattr(dialling, "_tls_context", lambda: trusting)
    asked: list[bytes] = []

    async def proxy(wire: Wire) -> None:
        asked.append(await wire.read_until(b"\r\n\r\n"))
        await wire.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        secure = trio.SSLStream(wire.stream, server_side, server_side=True, https_compatible=True)
        await echo(Wire(secure))  # type: ignore[arg-type]

    async with stage() as here:
        await here.upstream(proxy, "proxy")
        at = here.leases.endpoints.pop("proxy")
        here.site.proxies = OutgoingProxies.of({"https_proxy": f"http://u:p@127.0.0.1:{at.port}"})
        here.configure(peers={"p": Peer(id="p", proxy="https://far.invalid", models=("a",))})
        for _ in range(2):
            status, head, body = await ask(here, post(b'{"model":"p/a"}'))
            assert (status, body) == (200, b'{"model":"a"}')
            assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nHost: far.invalid\r\n")
            assert b"Proxy-Authorization" not in head
        (request,) = asked  # and the tunnel was used again
        assert request.startswith(b"CONNECT far.invalid:443 HTTP/1.1\r\nHost: far.invalid:443\r\n")
        assert b"Proxy-Authorization: Basic dTpw\r\n" in request


async def test_a_proxy_that_refuses_the_tunnel_is_named() -> None:
    async def refuse(wire: Wire) -> None:
        await wire.read_until(b"\r\n\r\n")
        await wire.send(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")

    async with stage() as here:
        await here.upstream(refuse, "proxy")
        at = here.leases.endpoints.pop("proxy")
        here.site.proxies = OutgoingProxies.of({"HTTPS_PROXY": f"http://127.0.0.1:{at.port}"})
        here.configure(peers={"p": Peer(id="p", proxy="https://far.invalid", models=("a",))})
        status, error, _ = await ask(here, post(b'{"model":"a"}'))
        assert status == 502
        assert b"407 Proxy Authentication Required" in error
        assert f"127.0.0.1:{at.port}".encode() in error


async def test_a_proxy_nobody_can_use_is_an_error_and_not_ignored() -> None:
    async with stage() as here:
        here.site.proxies = OutgoingProxies(http=ProxyServer.parse("socks5://127.0.0.1:1"))
        here.configure(peers={"p": Peer(id="p", proxy="http://far.invalid", models=("a",))})
        status, error, _ = await ask(here, post(b'{"model":"a"}'))
        assert status == 502
        assert b"socks5" in error


# --- names through profiles and selectors, where peers are concerned ------------------------------


async def test_profiles_and_selectors_put_the_name_where_it_was_found() -> None:
    async with stage() as here:
        await peer_at(here, echo)
        here.configure(
            selectors={"s": Selector(id="s", strategy="pin", targets=("p/a",))},
            profiles={"n": Profile(name="n", pins={"x": "s", "y": "b/c", "z": "p/a/no"})},
        )
        here.site.profile.activate("n")
        for name, model in (("s", "a"), ("x", "a"), ("y", "b/c")):
            _, _, body = await ask(here, post(f'{{"model":"{name}","k":[1.0]}}'.encode()))
            assert body == f'{{"model":"{model}","k":[1.0]}}'.encode()
            _, head, _ = await ask(here, get(f"/v1/audio/voices?b=%20&model={name}&a"))
            assert head.startswith(f"GET /v1/audio/voices?b=%20&model={model}&a HTTP".encode())
        assert not here.site.selectors.held("s", "p/a")
        status, _, _ = await ask(here, get("/upstream/y/v1"))
        assert status == 200
        status, _, _ = await ask(here, get("/upstream/x/v1"))
        assert status == 404  # a selector is no model below /upstream


async def test_a_multipart_request_named_by_its_query_is_renamed_there() -> None:
    body = b'--B\r\nContent-Disposition: form-data; name="f"\r\n\r\n1\r\n--B--\r\n'
    async with stage() as here:
        await peer_at(here, echo)
        request = (
            b"POST /v1/images/edits?model=p/a HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n"
            b"Content-Type: multipart/form-data; boundary=B\r\n\r\n%b" % (len(body), body)
        )
        status, head, seen = await ask(here, request)
        assert (status, seen) == (200, body)
        assert head.startswith(b"POST /v1/images/edits?model=a HTTP/1.1\r\n")
