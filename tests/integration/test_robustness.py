"""Whatever clients send, however slowly: no handler crashes, no lease leaks, others are served."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llamaswap.config.schema import Filters, Model
from tests.integration.processes import settled
from tests.integration.wire_stage import Peer, Stage, get, ok, post, stage

CHAT = b'{"model":"m","messages":[]}'
ANSWERS = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) ")


class Defects(logging.Handler):
    """What the data plane says about its own defects."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(self.format(record))


@pytest.fixture
def defects() -> Iterator[Defects]:
    handler = Defects()
    logger = logging.getLogger("llamaswap.proxy")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


async def any_upstream(peer: Peer) -> None:
    """Answer whatever comes, in one of several shapes."""
    while True:
        _, body = await peer.request()
        match len(body) % 4:
            case 0:
                await peer.send(ok(body))
            case 1:
                head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                await peer.send(head + b"2\r\nhi\r\n0\r\n\r\n")
            case 2:
                await peer.send(b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno")
            case _:
                return  # hang up


@asynccontextmanager
async def crowded() -> AsyncIterator[Stage]:
    """A data plane whose model is rewritten for in every way there is."""
    model = Model(
        id="m",
        aliases=("alias-of-m",),
        use_model_name="real",
        filters=Filters(strip_params=("temperature", "a.b"), set_params={"x.y": 1, "top_p": 0.5}),
        send_loading_state=True,
        stream_keep_alive=1,
    )
    async with stage(model) as here:
        await here.upstream(any_upstream)
        yield here
        await settled(lambda: not here.site.ongoing)
        assert here.leases.held == 0
        assert here.leases.waiting == 0


PATHS = [
    *("/v1/chat/completions", "/v1/completions", "/v1/audio/transcriptions", "/infill"),
    *("/upstream/m/x%2Fy", "/upstream/m", "/props?model=m", "/comfyui/", "/health", "/nope"),
    *("//v1/models", "/v1/../x", "/upstream//m", "/%68ealth", "/upstream/%ff/", "*", "/\x7f"),
]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.sampled_from(["m", "alias-of-m", "x", "", "true", "\\u0000", "\\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["model", "stream", "a", "b", "x", "temperature", "top_p"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def as_json(value: object) -> bytes:
    import json

    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def damaged(body: bytes) -> st.SearchStrategy[bytes]:
    """The body as it is, cut somewhere, or with bytes in it that do not belong there."""
    cut = st.integers(0, len(body)).map(lambda at: body[:at])
    stabbed = st.tuples(st.integers(0, len(body)), st.binary(max_size=6)).map(
        lambda pair: body[: pair[0]] + pair[1] + body[pair[0] :]
    )
    return st.just(body) | cut | stabbed


PARTS = st.lists(
    st.tuples(
        st.sampled_from(["model", "stream", "file", "prompt", ""]),
        st.sampled_from([b"m", b"x", b"", b"\x00\xff" * 40, b"--XX", b"\r\n--XX\r\n"]),
        st.sampled_from([b"", b"; filename=a.wav", b"; filename*=UTF-8''%", b'; filename="\\"']),
    ),
    max_size=4,
)


def as_multipart(parts: list[tuple[str, bytes, bytes]]) -> bytes:
    text = b"".join(
        b'--XX\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
        % (name.encode(), more, content)
        for name, content, more in parts
    )
    return text + b"--XX--\r\n"


BODIES = (
    JSON.map(as_json).flatmap(damaged).map(lambda body: (b"application/json", body))
    | PARTS.map(as_multipart)
    .flatmap(damaged)
    .map(lambda body: (b"multipart/form-data; boundary=XX", body))
    | st.sampled_from([b"model=m&stream=true", b"model=%ff", b"&&=", b"model"]).map(
        lambda body: (b"application/x-www-form-urlencoded", body)
    )
    | st.binary(max_size=60).map(lambda body: (b"", body))
)
HEADERS = st.lists(
    st.sampled_from(
        [
            b"Connection: close",
            b"Connection: upgrade, model",
            b"Upgrade: websocket",
            b"Expect: 100-continue",
            b"Accept: text/html",
            b"Accept-Encoding: gzip, br",
            b"X-Forwarded-For: \xff, 1",
            b"Content-Encoding: gzip",
            b"Authorization: Basic =",
            b"TE: trailers",
            b"Transfer-Encoding: chunked",
            b"Content-Length: 5",
            b"X: \x01",
            b": no name",
            b"no colon",
        ]
    ),
    max_size=3,
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    method = draw(st.sampled_from([b"POST", b"POST", b"POST", b"GET", b"PUT", b"OPTIONS", b"G T"]))
    target = draw(st.sampled_from(PATHS)).encode("latin-1")
    kind, body = draw(BODIES)
    lines = [method + b" " + target + b" HTTP/1.1", b"Host: t", *draw(HEADERS)]
    if kind:
        lines.append(b"Content-Type: " + kind)
    framing = draw(st.sampled_from(["sized", "sized", "chunked", "none", "lying"]))
    if framing in ("sized", "lying"):
        lines.append(b"Content-Length: %d" % (len(body) + (framing == "lying")))
    elif framing == "chunked":
        lines.append(b"Transfer-Encoding: chunked")
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    return draw(damaged(b"\r\n".join(lines) + b"\r\n\r\n" + body))


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.tuples(requests(), st.booleans()), min_size=4, max_size=12))
async def test_no_request_crashes_a_handler_or_leaks_a_lease(
    defects: Defects, sent: list[tuple[bytes, bool]]
) -> None:
    async with crowded() as here:

        async def one(raw: bytes, stays: bool) -> None:
            client = await here.client()
            try:
                await client.send(raw)
                if not stays:
                    await client.stream.aclose()
                    return
                await client.stream.send_eof()  # whatever was cut stays cut
            except trio.BrokenResourceError:
                return
            with trio.fail_after(30):
                got = await client.read_to_end()
            assert not got or ANSWERS.match(got), got

        async with trio.open_nursery() as nursery:
            for raw, stays in sent:
                nursery.start_soon(one, raw, stays)
        client = await here.client()  # and everybody else is served
        await client.send(post(b'{"model":"m"}'))
        assert (await client.response()).status in (200, 500, 502)
    assert defects.seen == []


async def test_slow_heads_end_however_they_drip(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then does not buy more time."""
    monkeypatch.setattr("llamaswap.proxy.server.HEAD_LIMIT", 0.5)
    async with stage() as here:
        await here.upstream(any_upstream)
        loris = [await here.client() for _ in range(50)]
        ended = 0

        async def drip(client: Peer) -> None:
            nonlocal ended
            async with trio.open_nursery() as nursery:

                async def feed() -> None:
                    try:
                        await client.send(b"GET /health HTTP/1.1\r\nHost: t\r\nX: ")
                        while True:
                            await client.send(b"x")
                            await trio.sleep(0.05)
                    except (trio.BrokenResourceError, trio.ClosedResourceError):
                        pass

                nursery.start_soon(feed)
                answer = await client.read_until(b"\r\n\r\n")
                nursery.cancel_scope.cancel()
            assert answer.startswith(b"HTTP/1.1 408 ")
            ended += 1

        async with trio.open_nursery() as nursery:
            for client in loris:
                nursery.start_soon(drip, client)
            other = await here.client()  # is served meanwhile
            await other.send(post(CHAT))
            assert (await other.response()).status in (200, 500, 502)
        assert ended == 50


async def test_slow_bodies_are_waited_for_and_hold_no_lease() -> None:
    async with stage() as here:
        await here.upstream(any_upstream)
        client = await here.client()
        raw = post(b'{"model":"m","xx":1}')  # a length that is answered with 200
        await client.send(raw[:-5])
        await trio.sleep(0.3)
        assert here.leases.held == 0
        assert here.connections == 0
        await client.send(raw[-5:])
        assert (await client.response()).status == 200


async def test_an_idle_connection_may_be_idle_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llamaswap.proxy.server.HEAD_LIMIT", 0.1)
    async with stage() as here:
        client = await here.client()
        await trio.sleep(0.5)
        await client.send(get("/nope"))
        assert (await client.response()).status == 404
