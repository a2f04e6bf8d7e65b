"""Carrying requests and answers, byte by byte, over real sockets. Source: http-api §1–§3, §10.5."""

from __future__ import annotations

import json

import pytest
import trio

from llamaswap.config.schema import Model, Timeouts
from llamaswap.errors import ModelUnloaded, TooManyRequests
from tests.integration.processes import settled
from tests.integration.wire_stage import Peer, get, ok, post, stage

CHAT = b'{"model":"m","messages":[]}'


async def echo(peer: Peer) -> None:
    """Answer every request with what it was."""
    while True:
        head, body = await peer.request()
        await peer.send(ok(head + b"|" + body))


async def forever(peer: Peer) -> None:
    """Take the request and never answer; end when the proxy closes."""
    await peer.request()
    await peer.read_to_end()


async def test_a_request_is_carried_and_headers_keep_case_order_and_duplicates() -> None:
    async with stage() as here:
        await here.upstream(echo)
        client = await here.client()
        await client.send(post(CHAT, "/v1/chat/completions?x=1%2F2", "X-B: 1", "x-a: 2", "X-B: 3"))
        answer = await client.response()
        head, _, body = answer.body.partition(b"|")
        assert answer.status == 200
        assert body == CHAT
        assert head.startswith(b"POST /v1/chat/completions?x=1%2F2 HTTP/1.1\r\nHost: test\r\n")
        assert b"X-B: 1\r\nx-a: 2\r\nX-B: 3\r\n" in head
        assert b"X-Forwarded-For: 127.0.0.1\r\n" in head


async def test_hop_by_hop_headers_and_those_connection_names_stay_behind() -> None:
    async def script(peer: Peer) -> None:
        head, _ = await peer.request()
        await peer.send(
            b"HTTP/1.1 200 OK\r\nConnection: close, X-Private\r\nX-Private: 1\r\nX-Kept: 1\r\n"
            b"Keep-Alive: timeout=5\r\nContent-Length: %d\r\n\r\n%b" % (len(head), head)
        )

    async with stage() as here:
        await here.upstream(script)
        client = await here.client()
        await client.send(
            post(
                CHAT,
                "/v1/embeddings",
                "Connection: keep-alive, X-Secret",
                "X-Secret: 1",
                "Proxy-Connection: x",
                "Te: trailers, deflate",
                "X-Forwarded-For: 9.9.9.9",
            )
        )
        answer = await client.response()
        sent = answer.body.lower()
        assert b"x-secret" not in sent
        assert b"proxy-connection" not in sent
        assert b"\r\nconnection:" not in sent
        assert b"te: trailers\r\n" in sent
        assert b"x-forwarded-for: 9.9.9.9, 127.0.0.1\r\n" in sent
        assert "x-private" not in answer.headers
        assert "keep-alive" not in answer.headers
        assert answer.headers["x-kept"] == "1"


@pytest.mark.parametrize(
    ("accept", "sent"),
    [
        ("gzip;q=1.0, br, deflate", b"Accept-Encoding: gzip;q=1.0, deflate\r\n"),
        ("br, zstd", None),
    ],
)
async def test_inference_answers_are_asked_for_in_codings_that_can_be_read(
    accept: str, sent: bytes | None
) -> None:
    async with stage() as here:
        await here.upstream(echo)
        client = await here.client()
        await client.send(post(CHAT, "/v1/completions", f"Accept-Encoding: {accept}"))
        body = (await client.response()).body
        assert sent in body if sent else b"accept-encoding" not in body.lower()


async def test_requests_on_one_connection_share_one_upstream_connection() -> None:
    async with stage() as here:
        await here.upstream(echo)
        client = await here.client()
        for _ in range(5):
            await client.send(post(CHAT))
            assert (await client.response()).status == 200
        assert here.connections == 1


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with stage() as here:
        await here.upstream(echo)
        client = await here.client()
        bodies = [b'{"model":"m","n":%d}' % n for n in range(20)]
        await client.send(b"".join(post(body) for body in bodies))
        for body in bodies:
            assert (await client.response()).body.endswith(body)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
async def test_request_bodies_of_every_size_and_framing_arrive_whole(
    size: int, chunked: bool
) -> None:
    body = b'{"model":"m","x":"' + b"y" * size + b'"}'
    async with stage() as here:

        async def script(peer: Peer) -> None:
            _, received = await peer.request()
            await peer.send(ok(b"same" if received == body else b"other"))

        await here.upstream(script)
        client = await here.client()
        if chunked:
            await client.send(
                b"POST /v1/embeddings HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"
            )
            for at in range(0, len(body), 100_000):
                part = body[at : at + 100_000]
                await client.send(b"%X;ext=1\r\n%b\r\n" % (len(part), part))
            await client.send(b"0\r\nX-Trailer: 1\r\n\r\n")
        else:
            await client.send(post(body, "/v1/embeddings"))
        assert (await client.response()).body == b"same"


async def test_expect_100_continue_is_answered_before_the_body() -> None:
    async with stage() as here:
        await here.upstream(echo)
        client = await here.client()
        await client.send(post(CHAT, "/v1/chat/completions", "Expect: 100-continue")[: -len(CHAT)])
        assert await client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(CHAT)
        answer = await client.response()
        assert answer.body.endswith(CHAT)
        assert b"expect" not in answer.body.lower()


async def test_a_chunked_stream_arrives_chunk_by_chunk_as_it_was_sent() -> None:
    go_on = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream\r\nX-Accel-Buffering: yes\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
        )
        await go_on.wait()
        await peer.send(b"3\r\nyou\r\n0\r\n\r\n")
        await peer.read_to_end()

    async with stage() as here:
        await here.upstream(script)
        client = await here.client()
        await client.send(post(CHAT))
        head = await client.read_until(b"\r\n\r\n")
        assert b"X-Accel-Buffering: no" in head
        assert b"yes" not in head
        assert await client.read_exactly(10) == b"5\r\nhello\r\n"
        go_on.set()
        assert await client.read_exactly(13) == b"3\r\nyou\r\n0\r\n\r\n"


async def test_a_response_ended_by_close_becomes_chunked() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nabc")

    async with stage() as here:
        await here.upstream(script)
        client = await here.client()
        await client.send(post(CHAT) * 2)
        for _ in range(2):
            answer = await client.response()
            assert answer.headers["transfer-encoding"] == "chunked"
            assert answer.body == b"abc"


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    ],
)
async def test_a_client_of_http_1_0_gets_no_chunks(response: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(response)

    async with stage() as here:
        await here.upstream(script)
        client = await here.client()
        await client.send(post(CHAT).replace(b"HTTP/1.1", b"HTTP/1.0"))
        head, _, body = (await client.read_to_end()).partition(b"\r\n\r\n")
        assert b"chunked" not in head.lower()
        assert body == b"abc"


@pytest.mark.parametrize(
    ("method", "response", "status"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 200),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", 304),
        ("GET", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
        ("GET", b"HTTP/1.1 302 Found\r\nLocation: /a%2F\r\nContent-Length: 0\r\n\r\n", 302),
    ],
)
async def test_responses_without_body_end_at_their_head(
    method: str, response: bytes, status: int
) -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(response)

    async with stage() as here:
        await here.upstream(script)
        client = await here.client()
        for _ in range(2):  # the connection is still in step
            await client.send(get("/upstream/m/x", method=method))
            head = await client.read_until(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 %d " % status)
        assert client.buffer == b""
        assert here.connections == 1


# --- failures -------------------------------------------------------------------------------------


async def test_a_refused_connection_is_a_502_that_names_model_and_cause() -> None:
    async with stage() as here:
        await here.upstream(echo)
        here.leases.endpoints["m"] = here.leases.endpoints["m"].__class__("http", "127.0.0.1", 1)
        client = await here.client()
        await client.send(post(CHAT))
        answer = await client.response()
        error = json.loads(answer.body)["error"]
        assert (answer.status, error["code"]) == (502, "bad_gateway")
        assert "m: cannot connect to 127.0.0.1:1" in error["message"]


async def test_a_process_that_is_gone_is_a_503() -> None:
    async with stage() as here:
        await here.upstream(echo)
        here.leases.endpoints["m"] = here.leases.endpoints["m"].__class__("http", "127.0.0.1", 1)
        here.leases.ready = False
        client = await here.client()
        await client.send(post(CHAT))
        answer = await client.response()
        assert answer.status == 503
        assert "[m] process is not ready" in answer.body.decode()


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nConte",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    ],
)
async def test_an_upstream_that_breaks_http_before_its_head_is_a_502(response: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(response)

    async with stage() as here:
        await here.upstream(script)
        client = await here.client()
        await client.send(post(CHAT))
        answer = await client.response()
        assert answer.status == 502
        assert json.loads(answer.body)["src"] == "llama-swap"
        await client.send(post(CHAT))  # our own connection to the client is not harmed
        assert (await client.response()).status == 502


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nseven77",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",
    ],
)
async def test_a_response_that_breaks_off_is_visibly_cut(response: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(response)

    async with stage() as here:
        await here.upstream(script)
        client = await here.client()
        await client.send(post(CHAT))
        got = await client.read_to_end()  # the connection is closed
        assert got.startswith(b"HTTP/1.1 200 OK")
        assert not got.endswith(b"0\r\n\r\n")
        again = await here.client()  # and the program lives
        await again.send(post(CHAT))
        assert (await again.read_until(b"\r\n")).startswith(b"HTTP/1.1 200")


async def test_redirects_of_an_upstream_pass_unchanged() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(
            b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/x?y=%2F\r\nContent-Length: 0\r\n\r\n"
        )

    async with stage() as here:
        await here.upstream(script)
        client = await here.client()
        await client.send(get("/upstream/m/x"))
        answer = await client.response()
        assert (answer.status, answer.headers["location"]) == (302, "http://elsewhere/x?y=%2F")
        assert here.connections == 1


async def test_the_server_and_date_of_an_answer_are_the_upstream_s() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok(b"x", "Server: llama.cpp", "Date: Mon, 01 Jan 2024 00:00:00 GMT"))

    async with stage() as here:
        await here.upstream(script)
        client = await here.client()
        await client.send(post(CHAT))
        names = [name.lower() for name, _ in (await client.response()).pairs]
        assert (names.count("server"), names.count("date")) == (1, 1)


async def test_bytes_behind_a_response_never_reach_the_client() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok(b"abc") + ok(b"smuggled"))
        await peer.read_to_end()

    async with stage() as here:
        await here.upstream(script)
        client = await here.client()
        for _ in range(2):
            await client.send(post(CHAT))
            assert (await client.response()).body == b"abc"
        assert here.connections == 2


async def test_a_fresh_connection_that_dies_is_not_tried_again() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()

    async with stage() as here:
        await here.upstream(script)
        client = await here.client()
        await client.send(post(CHAT))
        assert (await client.response()).status == 502
        assert here.connections == 1


async def test_no_response_head_in_time_is_a_502() -> None:
    async with stage() as here:
        await here.upstream(forever)
        here.leases.timeouts = Timeouts(response_header=1)
        client = await here.client()
        await client.send(post(CHAT))
        answer = await client.response()
        assert answer.status == 502
        assert "no response head within 1 s" in answer.body.decode()


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (TooManyRequests(), 429, "concurrency_limit"),
        (ModelUnloaded("<m> model unloaded"), 500, "internal_error"),
    ],
)
async def test_a_refused_lease_is_an_envelope_and_the_connection_lives(
    error: Exception, status: int, code: str
) -> None:
    async with stage() as here:
        here.leases.error = error  # type: ignore[assignment]
        client = await here.client()
        for _ in range(2):
            await client.send(post(CHAT, "/v1/messages"))
            answer = await client.response()
            body = json.loads(answer.body)
            assert (answer.status, body["error"]["code"], body["type"]) == (status, code, "error")
        assert (answer.headers.get("retry-after") == "1") is (status == 429)


# --- clients that leave ---------------------------------------------------------------------------


async def test_a_client_that_leaves_while_waiting_gives_its_place_up() -> None:
    async with stage() as here:
        here.leases.gate = trio.Event()
        client = await here.client()
        await client.send(post(CHAT))
        await settled(lambda: here.leases.waiting == 1)
        await client.stream.aclose()
        await settled(lambda: here.leases.waiting == 0, within=2)
        assert here.finished[-1].status == 499


@pytest.mark.parametrize(
    "before",
    [b"", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"],
    ids=["waiting for the head", "a silent stream"],
)
async def test_a_client_that_leaves_ends_the_upstream_request(before: bytes) -> None:
    noticed = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(before)
        await peer.read_to_end()
        noticed.set()

    async with stage() as here:
        await here.upstream(script)
        client = await here.client()
        await client.send(post(CHAT))
        await settled(lambda: here.leases.held == 1)
        if before:
            await client.read_until(b"hello")
        await client.stream.aclose()
        with trio.fail_after(2):
            await noticed.wait()
        await settled(lambda: here.leases.held == 0)


async def test_a_client_that_leaves_a_busy_stream_ends_it() -> None:
    noticed = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                await peer.send(b"4\r\ntick\r\n")
                await trio.sleep(0.01)
        finally:
            noticed.set()

    async with stage() as here:
        await here.upstream(script)
        client = await here.client()
        await client.send(post(CHAT))
        await client.read_until(b"tick")
        await client.stream.aclose()
        with trio.fail_after(2):
            await noticed.wait()


async def test_a_pipelining_client_is_not_taken_for_one_that_left() -> None:
    async with stage() as here:
        here.leases.gate = trio.Event()
        await here.upstream(echo)
        client = await here.client()
        await client.send(post(CHAT) + post(CHAT))
        await settled(lambda: here.leases.waiting == 1)
        await trio.sleep(0.7)  # the patrol has passed at least twice
        here.leases.gate.set()
        assert (await client.response()).status == 200
        assert (await client.response()).status == 200


async def test_a_pipelining_client_that_leaves_is_noticed_all_the_same() -> None:
    async with stage() as here:
        here.leases.gate = trio.Event()
        client = await here.client()
        await client.send(post(CHAT) + post(CHAT))
        await settled(lambda: here.leases.waiting == 1)
        await client.stream.aclose()
        await settled(lambda: here.leases.waiting == 0, within=2)


# --- names, routes, keys --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b'{"model":"m"}', 200, ""),
        (b'{"model":"alias-of-m"}', 200, ""),
        (b'{"a":{"model":"no"},"model":"m"}', 200, ""),
        (b'{"model":"m","model":"no"}', 200, ""),
        (b'{"mod\\u0065l":"m","model":"no"}', 200, ""),
        (b'{"model":"no","model":"m"}', 404, "no router for requested model"),
        (b'{"model":" m"}', 404, "no router for requested model"),
        (b'{"model":""}', 404, "no model id could be identified"),
        (b'{"model":null}', 404, "no model id could be identified"),
        (b'{"model":["m"]}', 404, "no router for requested model"),
        (b'{"model":7}', 404, "no router for requested model: 7"),
        (b"[1]", 404, "no model id could be identified"),
        (b"", 404, "no model id could be identified"),
        (b'{"model":"m"', 400, "not valid JSON"),
        (b'{"model":"m"}x', 400, "not valid JSON"),
        (b"\xff\xfe", 400, "not valid JSON"),
    ],
)
async def test_the_first_top_level_model_member_decides(
    body: bytes, status: int, text: str
) -> None:
    async with stage() as here:
        await here.upstream(echo)
        client = await here.client()
        await client.send(post(body))
        answer = await client.response()
        assert answer.status == status, answer.body
        assert text in answer.body.decode()


@pytest.mark.parametrize("kind", ["APPLICATION/JSON; charset=utf-8", "application/x+json"])
async def test_json_is_recognised_in_any_case_and_as_a_suffix(kind: str) -> None:
    async with stage() as here:
        await here.upstream(echo)
        client = await here.client()
        await client.send(post(CHAT).replace(b"application/json", kind.encode()))
        assert (await client.response()).status == 200


async def test_use_model_name_replaces_the_name_and_nothing_else() -> None:
    async with stage(Model(id="m", use_model_name='real "x"')) as here:
        await here.upstream(echo)
        client = await here.client()
        await client.send(post(b' { "a" : 1.0, "model" : "m" ,"b":[1e5,"\\u00e4"] } '))
        answer = await client.response()
        assert answer.body.endswith(
            b'| { "a" : 1.0, "model" : "real \\"x\\"" ,"b":[1e5,"\\u00e4"] } '
        )


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/v/chat/completions", b"POST /chat/completions "),
        ("/audioapi/v1/tasks/run", b"POST /v1/tasks/run "),
        ("/v1/rerank?a=b", b"POST /v1/rerank?a=b "),
    ],
)
async def test_prefixes_the_upstream_does_not_know_are_removed(path: str, sent: bytes) -> None:
    async with stage() as here:
        await here.upstream(echo, path="")
        client = await here.client()
        await client.send(post(CHAT, path))
        assert (await client.response()).body.startswith(sent)


async def test_the_proxy_urls_path_and_query_come_first() -> None:
    async with stage() as here:
        await here.upstream(echo, path="/pre/?k=v")
        client = await here.client()
        await client.send(get("/upstream/m/a%2Fb?z=1"))
        assert (await client.response()).body.startswith(b"GET /pre/a%2Fb?k=v&z=1 HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/upstream/author/model/x//y/../z?q", b"GET /x//y/../z?q "),
        ("/upstream/author%2Fmodel/%2F%252F", b"GET /%2F%252F "),
        ("/upstream/author/other", b"GET /other "),
    ],
)
async def test_the_longest_model_name_of_an_upstream_path_wins(path: str, sent: bytes) -> None:
    models = (Model(id="author"), Model(id="author/model"))
    async with stage(*models) as here:
        await here.upstream(echo, "author")
        await here.upstream(echo, "author/model")
        client = await here.client()
        await client.send(get(path))
        assert (await client.response()).body.startswith(sent)


@pytest.mark.parametrize(
    ("method", "path", "status", "location"),
    [
        ("GET", "/upstream", 302, "/ui/models"),
        ("POST", "/upstream", 307, "/upstream/"),
        ("GET", "/upstream/", 404, None),
        ("GET", "/upstream/unknown/x", 404, None),
        ("GET", "/upstream/m?a=b", 301, "/upstream/m/?a=b"),
        ("POST", "/upstream/m", 308, "/upstream/m/"),
        ("GET", "/comfyui?x=1", 301, "/comfyui/?x=1"),
        ("GET", "/comfyui/", 404, None),
        ("GET", "//health", 307, "/health"),
        ("POST", "/v1//embeddings?a=1", 307, "/v1/embeddings?a=1"),
        ("GET", "/v1/./x/../models", 307, "/v1/models"),
        ("GET", "/v1/models/", 404, None),
        ("GET", "/nothing/here", 404, None),
        ("GET", "/v1%2Fmodels", 404, None),
        ("GET", "/V1/models", 404, None),
    ],
)
async def test_redirects_and_unknown_paths(
    method: str, path: str, status: int, location: str | None
) -> None:
    async with stage(api_keys=("k",)) as here:
        client = await here.client()
        await client.send(get(path, "x-api-key: k", method=method))
        answer = await client.response()
        assert (answer.status, answer.headers.get("location")) == (status, location)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("DELETE", "/v1/audio/voices", "GET, HEAD, POST"),
        ("GET", "/api/profiles/active", "PUT"),
        ("HEAD", "/unload", "GET"),
        ("PUT", "/api/models/unload/x", "POST"),
    ],
)
async def test_a_wrong_method_names_the_right_ones(method: str, path: str, allow: str) -> None:
    async with stage() as here:
        client = await here.client()
        await client.send(get(path, "Content-Length: 0", method=method))
        head = await client.read_until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 405 ")
        assert b"Allow: %b\r\n" % allow.encode() in head


async def test_options_is_answered_everywhere_and_never_forwarded() -> None:
    async with stage(api_keys=("k",)) as here:
        client = await here.client()
        wished = "Access-Control-Request-Headers: X-One , bad name,,x-two"
        for path, headers in (("/nowhere", ()), ("/upstream/m/x", (wished,)), ("*", ())):
            await client.send(get(path, *headers, method="OPTIONS"))
            head = (await client.read_until(b"\r\n\r\n")).decode()
            assert head.startswith("HTTP/1.1 204 ")
            assert "Access-Control-Allow-Origin: *\r\n" in head
            expected = "X-One, x-two" if headers else "Content-Type, Authorization, Accept"
            assert f"Access-Control-Allow-Headers: {expected}" in head


def basic(text: str) -> str:
    import base64

    return "Authorization: Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ((), False),
        (("x-api-key: right",), True),
        (("X-Api-Key: wrong",), False),
        (("Authorization: Bearer right",), True),
        (("authorization: bEARER right",), True),
        (("Authorization: Bearer  right",), False),
        (("Authorization: Bearer wrong", "x-api-key: right"), False),
        (("Authorization: Digest x", "x-api-key: right"), True),
        ((basic("user:right"),), True),
        ((basic("right"), "x-api-key: right"), True),
        ((basic("user:"), "x-api-key: right"), True),
        (("Authorization: Basic %%%", "x-api-key: right"), True),
        ((basic("user:wrong"), "x-api-key: right"), False),
        (("Authorization: Bearer wrong", "Authorization: Bearer right"), False),
    ],
)
async def test_one_credential_counts(headers: tuple[str, ...], passes: bool) -> None:
    async with stage(api_keys=("other", "right")) as here:
        await here.upstream(echo)
        client = await here.client()
        await client.send(post(CHAT, "/v1/chat/completions", *headers))
        answer = await client.response()
        assert answer.status == (200 if passes else 401)
        if not passes:
            assert answer.headers["www-authenticate"] == 'Basic realm="llama-swap"'
            assert "unauthorized: invalid or missing API key" in answer.body.decode()


async def test_paths_that_may_not_start_a_model_need_it_ready() -> None:
    async with stage(Model(id="m"), Model(id="comfyui_auto", ignore_websockets=True)) as here:
        await here.upstream(echo)
        await here.upstream(echo, "comfyui_auto")
        client = await here.client()
        here.leases.ready = False
        expected: list[tuple[str, int]] = [
            ("/upstream/m/app.js", 409),
            ("/upstream/m/app", 200),
            ("/comfyui/queue", 409),
            ("/comfyui/", 200),
        ]
        for path, status in expected:
            await client.send(get(path))
            assert (await client.response()).status == status
        await client.send(get("/comfyui/ws", "Connection: Upgrade", "Upgrade: websocket"))
        assert (await client.response()).status == 409


async def test_an_upgrade_becomes_a_tunnel_until_a_side_closes() -> None:
    async def script(peer: Peer) -> None:
        head, _ = await peer.request()
        assert b"Connection: Upgrade\r\nUpgrade: websocket\r\n" in head
        await peer.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: x\r\n\r\nearly"
        )
        await peer.send(b"<" + await peer.read_exactly(4) + b">")

    async with stage() as here:
        await here.upstream(script)
        client = await here.client()
        await client.send(get("/upstream/m/ws", "Connection: Upgrade", "Upgrade: websocket"))
        head = await client.read_until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"Sec-WebSocket-Accept: x" in head
        await client.send(b"ping")
        assert await client.read_to_end() == b"early<ping>"
        assert here.finished[-1].status == 101


# --- broken and dangerous requests ----------------------------------------------------------------

HOST = b"Host: t\r\n"
SMUGGLING: list[tuple[str, bytes]] = [
    ("both framings", HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("differing lengths", HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
    ("repeated length", HOST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
    ("a list of lengths", HOST + b"Content-Length: 3, 3\r\n\r\nabc"),
    ("a signed length", HOST + b"Content-Length: +3\r\n\r\nabc"),
    ("a negative length", HOST + b"Content-Length: -1\r\n\r\n"),
    ("a hexadecimal length", HOST + b"Content-Length: 0x3\r\n\r\nabc"),
    ("an empty length", HOST + b"Content-Length: \r\n\r\n"),
    ("a huge length", HOST + b"Content-Length: 99999999999999999999\r\n\r\n"),
    ("another coding", HOST + b"Transfer-Encoding: gzip\r\n\r\n"),
    ("two codings", HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("coding twice", HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n"),
    ("identity", HOST + b"Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc"),
    ("vertical tab coding", HOST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    ("space before the colon", HOST + b"Content-Length : 3\r\n\r\nabc"),
    ("tab before the colon", HOST + b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n"),
    ("folded header", HOST + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
    ("folded first header", b" Host: t\r\nContent-Length: 0\r\n\r\n"),
    ("bare LF", b"Host: t\nContent-Length: 0\r\n\r\n"),
    ("bare CR", HOST + b"X: a\rb\r\nContent-Length: 0\r\n\r\n"),
    ("NUL", HOST + b"X: a\x00b\r\nContent-Length: 0\r\n\r\n"),
    ("no colon", HOST + b"nonsense\r\nContent-Length: 0\r\n\r\n"),
    ("empty name", HOST + b": x\r\nContent-Length: 0\r\n\r\n"),
    ("two hosts", HOST + b"Host: u\r\nContent-Length: 0\r\n\r\n"),
    ("no host", b"Content-Length: 0\r\n\r\n"),
    ("signed chunk size", HOST + b"Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n"),
    ("0x chunk size", HOST + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n"),
    ("no chunk size", HOST + b"Transfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n"),
    ("long chunk", HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n"),
    ("chunk bare LF", HOST + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n"),
    ("chunk end LF", HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n"),
    ("endless chunk line", HOST + b"Transfer-Encoding: chunked\r\n\r\n3;" + b"x" * 9000),
    ("chunk size overflow", HOST + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 17 + b"\r\nx"),
]


@pytest.mark.parametrize(
    "rest", [attempt[1] for attempt in SMUGGLING], ids=[attempt[0] for attempt in SMUGGLING]
)
async def test_smuggling_is_refused_and_the_connection_closed(rest: bytes) -> None:
    async with stage() as here:
        await here.upstream(echo)
        client = await here.client()
        await client.send(b"POST /upstream/m/x HTTP/1.1\r\n" + rest + get("/upstream/m/secret"))
        await client.stream.send_eof()
        got = await client.read_to_end()
        assert got.startswith(b"HTTP/1.1 400 ")
        assert got.count(b"HTTP/1.1") == 1
        assert here.connections == 0


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET  /health HTTP/1.1", 400),
        (b"GET /he alth HTTP/1.1", 400),
        (b"GET /health", 400),
        (b"GET /health HTTP/1.1 ", 400),
        (b"GET /health HTTP/2.0", 505),
        (b"GET /health HTTP/0.9", 505),
        (b"GET health HTTP/1.1", 400),
        (b"GET /h\xc3\xa4 HTTP/1.1", 400),
        (b"G(T /health HTTP/1.1", 400),
        (b"get /health HTTP/1.1", 400),
        (b"CONNECT example.org:443 HTTP/1.1", 400),
        (b"GET ftp://x/ HTTP/1.1", 400),
        (b"GET * HTTP/1.1", 400),
    ],
)
async def test_a_broken_request_line_is_refused(line: bytes, status: int) -> None:
    async with stage() as here:
        client = await here.client()
        await client.send(line + b"\r\nHost: t\r\n\r\n")
        await client.stream.send_eof()
        got = await client.read_to_end()
        assert got.startswith(b"HTTP/1.1 %d " % status)


async def test_an_absolute_target_is_taken_by_its_path() -> None:
    async with stage() as here:
        await here.upstream(echo)
        client = await here.client()
        await client.send(get("http://elsewhere/upstream/m/a?b"))
        assert (await client.response()).body.startswith(b"GET /a?b ")


async def test_a_head_of_more_than_a_mebibyte_is_431() -> None:
    async with stage() as here:
        client = await here.client()
        await client.send(b"GET / HTTP/1.1\r\nX: " + b"y" * 1_500_000)
        assert (await client.read_to_end()).startswith(b"HTTP/1.1 431 ")


async def test_a_head_of_almost_a_mebibyte_is_carried() -> None:
    async with stage() as here:
        await here.upstream(echo)
        client = await here.client()
        await client.send(get("/upstream/m/x", "X-Long: " + "y" * 1_000_000, "Connection: close"))
        assert len(await client.read_to_end()) > 1_000_000


async def test_a_slow_head_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llamaswap.proxy.server.HEAD_LIMIT", 0.2)
    async with stage() as here:
        client = await here.client()
        await client.send(b"GET / HT")
        assert (await client.read_to_end()).startswith(b"HTTP/1.1 408 ")


async def test_draining_ends_idle_connections_and_lets_the_rest_finish() -> None:
    async with stage() as here:
        here.leases.gate = trio.Event()
        await here.upstream(echo)
        idle, busy = await here.client(), await here.client()
        await busy.send(post(CHAT))
        await settled(lambda: here.leases.waiting == 1 and len(here.site.idle) == 1)
        here.site.drain()
        assert await idle.is_closed(2)
        here.leases.gate.set()
        assert (await busy.response()).status == 200
        assert await busy.is_closed(2)
        with trio.fail_after(2):
            await here.site.wait_idle()


async def test_the_access_log_tells_each_exchange_once() -> None:
    async with stage() as here:
        await here.upstream(echo)
        client = await here.client()
        await client.send(post(CHAT, "/v1/chat/completions?secret=1", "User-Agent: me/1"))
        answer = await client.response()
        await client.send(get("/n%6Fwhere", "X-Forwarded-For: 1.2.3.4, 5.6.7.8"))
        await client.response()
        first, second = here.finished
        assert (first.method, first.path, first.status) == ("POST", "/v1/chat/completions", 200)
        assert (first.sent, first.user_agent, first.client) == (
            len(answer.body),
            "me/1",
            "127.0.0.1",
        )
        assert (second.path, second.status, second.client) == ("/nowhere", 404, "1.2.3.4")


async def test_a_thousand_clients_at_once_are_answered() -> None:
    async with stage(Model(id="m", concurrency_limit=5000)) as here:
        await here.upstream(echo)
        answered = 0

        async def one() -> None:
            nonlocal answered
            client = await here.client()
            async with client.stream:
                await client.send(post(CHAT))
                answer = await client.response()
                answered += answer.status == 200

        async with trio.open_nursery() as nursery:
            for _ in range(1000):
                nursery.start_soon(one)
        assert answered == 1000
        await settled(lambda: not here.site.ongoing and here.leases.held == 0)
