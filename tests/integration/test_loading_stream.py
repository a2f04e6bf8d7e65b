"""What a streaming client reads while its model loads, and how the answer goes on. http-api §5."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from typing import Any

import pytest
import trio

from llamaswap.config.schema import Model
from llamaswap.errors import TooManyRequests, UpstreamExited
from tests.integration.processes import settled
from tests.integration.wire_stage import Peer, Stage, get, ok, post, stage

CHAT = b'{"model":"alias-of-m","stream":true,"messages":[]}'
ANSWER = b'data: {"x":1}\n\ndata: [DONE]\n\n'
SSE = "Content-Type: text/event-stream"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


def loading(**keys: Any) -> Model:
    return Model(id="m", aliases=("alias-of-m",), send_loading_state=True, **keys)


def commented() -> Model:
    """A model whose streams are kept alive; quicker than whole seconds allow."""
    return Model(id="m", aliases=("alias-of-m",), stream_keep_alive=0.2)  # type: ignore[arg-type]


def waiting(here: Stage) -> None:
    """The model is not ready, and is granted when the test says so."""
    here.leases.ready = False
    here.leases.gate = trio.Event()


def grant(here: Stage) -> None:
    assert here.leases.gate is not None
    here.leases.ready = True
    here.leases.gate.set()


def frames(body: bytes) -> list[Any]:
    """Every event of a stream, parsed; comments are left out."""
    found = []
    for event in body.decode().split("\n\n")[:-1]:
        if event.startswith(":"):
            continue
        assert event.startswith("data: "), event
        found.append(event[6:] if event == "data: [DONE]" else json.loads(event[6:]))
    return found


def told(body: bytes) -> str:
    """The reasoning text of a stream."""
    return "".join(
        frame["choices"][0]["delta"]["reasoning_content"]
        for frame in frames(body)
        if isinstance(frame, dict) and "choices" in frame
    )


def answering(response: bytes) -> Any:
    """An upstream that gives the same answer to every request; without framing, to one."""

    async def script(peer: Peer) -> None:
        framed = b"chunked" in response or b"Content-Length" in response
        while True:
            head, _ = await peer.request()
            assert b"accept-encoding" not in head.lower()
            await peer.send(response)
            if not framed:
                return

    return script


def chunked(body: bytes, *headers: bytes) -> bytes:
    head = b"".join(header + b"\r\n" for header in (b"Transfer-Encoding: chunked", *headers))
    return HEAD + head + b"\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def sized(body: bytes, *headers: bytes) -> bytes:
    head = b"".join(header + b"\r\n" for header in (b"Content-Length: %d" % len(body), *headers))
    return HEAD + head + b"\r\n" + body


def until_close(body: bytes) -> bytes:
    return HEAD + b"\r\n" + body


async def test_the_client_reads_progress_and_then_the_answer() -> None:
    async with stage(loading()) as here:
        waiting(here)
        await here.upstream(answering(chunked(ANSWER)))
        client = await here.client()
        await client.send(post(CHAT))
        head = await client.read_until(b"\r\n\r\n")  # while nothing is granted yet
        assert b"Content-Type: text/event-stream\r\n" in head
        assert b"Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n" in head
        client.buffer = head + client.buffer
        await settled(lambda: here.leases.waiting == 1)
        assert here.leases.observer is not None
        await trio.sleep(0.9)
        here.leases.observer.position(3, 12.4)
        await trio.sleep(1.2)
        grant(here)
        answer = await client.response()
        text = told(answer.body)
        assert text.startswith("━━━━━\nllama-swap loading model: m\n\n")
        assert "\nQueue position: #3, about 12 s " in text
        assert text.endswith("s)\n━━━━━\n \n")
        assert "\nDone! (" in text
        assert answer.body.endswith(ANSWER)
        await client.send(post(CHAT))  # the connection is in step, and the model ready
        assert (await client.response()).body == ANSWER


async def test_frames_are_small_complete_and_ticks_keep_their_pace() -> None:
    async with stage(loading()) as here:
        waiting(here)
        await here.upstream(answering(sized(ANSWER)))
        client = await here.client()
        await client.send(post(CHAT))
        await client.read_until(b"\r\n\r\n")
        dots: list[float] = []
        body = b""
        while len(dots) < 3:
            size = int(await client.read_until(b"\r\n"), 16)
            event = await client.read_exactly(size)
            await client.read_exactly(2)
            body += event
            if b'"reasoning_content":"."' in event:
                dots.append(time.monotonic())
        for frame in frames(body):
            choice = frame["choices"][0]
            assert len(choice["delta"]["reasoning_content"]) <= 5
            assert (choice["index"], choice["finish_reason"]) == (0, None)
            assert frame["object"] == "chat.completion.chunk"
            assert frame["model"] == "alias-of-m"
            assert frame["id"] == frames(body)[0]["id"]
            assert abs(frame["created"] - time.time()) < 60
        # ticks come from one clock: however late one is, two gaps are at least one and a half ticks
        assert dots[2] - dots[0] > 0.75


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize(
    "response",
    [
        chunked(ANSWER),
        sized(ANSWER),
        until_close(ANSWER),
        chunked(gzip.compress(ANSWER, mtime=0), b"Content-Encoding: gzip"),
        sized(gzip.compress(ANSWER, mtime=0), b"Content-Encoding: GZip"),
        chunked(zlib.compress(ANSWER), b"Content-Encoding: deflate"),
        chunked(zlib.compress(ANSWER, wbits=-15), b"Content-Encoding: deflate"),
        sized(ANSWER, b"Content-Encoding: identity"),
    ],
    ids=[
        "chunked",
        "sized",
        "until close",
        "gzip",
        "sized gzip",
        "zlib",
        "raw deflate",
        "identity",
    ],
)
async def test_an_event_stream_goes_on_however_it_is_framed_and_coded(
    response: bytes, version: str
) -> None:
    async with stage(loading()) as here:
        waiting(here)
        await here.upstream(answering(response))
        client = await here.client()
        request = post(CHAT, "/v1/chat/completions", "Accept-Encoding: gzip", "Connection: close")
        await client.send(request.replace(b"HTTP/1.1", b"HTTP/" + version.encode(), 1))
        start = await client.read_until(b"\r\n\r\n")
        grant(here)
        if version == "1.1":
            client.buffer = start + client.buffer
            body = (await client.response()).body
        else:
            assert b"chunked" not in start
            body = await client.read_to_end()
        assert "Done! (" in told(body)
        assert body.endswith(ANSWER)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (
            b"HTTP/1.1 400 Bad\r\nContent-Type: application/json\r\nContent-Length: 34\r\n\r\n"
            b'{\n "error": {\r\n  "message": "x"}\n}',
            {"error": {"message": "x"}},
        ),
        (ok(b'{"choices": []}', "Content-Type: application/json"), {"choices": []}),
        (
            b"HTTP/1.1 500 No\r\nContent-Type: text/html\r\n\r\n<h1>broken</h1>",
            {"message": "<h1>broken</h1>", "code": "internal_error"},
        ),
        (
            b"HTTP/1.1 429 No\r\nContent-Length: 4000\r\n\r\n" + b"y" * 4000,
            {"message": "y" * 2000, "type": "rate_limit_error"},
        ),
        (
            b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
            {"message": "the model server answered 503 without a body"},
        ),
        (
            b"HTTP/1.1 204 No\r\n\r\n",
            {"message": "the model server answered 204 without a body", "code": "bad_gateway"},
        ),
        (
            ok(gzip.compress(b'{"a":1}', mtime=0), "Content-Encoding: gzip"),
            {"a": 1},
        ),
        (
            chunked(b"...", b"Content-Encoding: br"),
            {"message": "the model server answered in content coding 'br', unasked"},
        ),
    ],
)
async def test_any_other_answer_becomes_one_event(response: bytes, expected: Any) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(response)

    async with stage(loading()) as here:
        waiting(here)
        await here.upstream(script)
        client = await here.client()
        await client.send(post(CHAT))
        start = await client.read_until(b"\r\n\r\n")
        grant(here)
        client.buffer = start + client.buffer
        *_, last, done = frames((await client.response()).body)
        assert done == "[DONE]"
        if "message" in expected:
            assert last["src"] == "llama-swap"
            last = {key: last["error"][key] for key in expected}
        assert last == expected
        await client.send(get("/upstream/m/x"))  # our own connection is in step
        assert (await client.response()).status in (200, 204, 400, 429, 500, 503)


async def test_a_failed_start_is_told_in_the_stream() -> None:
    async with stage(loading()) as here:
        waiting(here)
        client = await here.client()
        await client.send(post(CHAT))
        start = await client.read_until(b"\r\n\r\n")
        here.leases.late_error = UpstreamExited("upstream command exited prematurely")
        grant(here)
        client.buffer = start + client.buffer
        body = (await client.response()).body
        assert "\nFailed (" in told(body)
        assert "Done!" not in told(body)
        *_, last, done = frames(body)
        assert done == "[DONE]"
        assert last["src"] == "llama-swap"
        assert last["error"] == {
            "message": "upstream command exited prematurely",
            "type": "server_error",
            "param": None,
            "code": "internal_error",
        }


async def test_an_upstream_that_dies_without_an_answer_is_told_in_the_stream() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()

    async with stage(loading()) as here:
        waiting(here)
        await here.upstream(script)
        client = await here.client()
        await client.send(post(CHAT))
        start = await client.read_until(b"\r\n\r\n")
        grant(here)
        client.buffer = start + client.buffer
        *_, last, done = frames((await client.response()).body)
        assert (last["error"]["code"], done) == ("bad_gateway", "[DONE]")


@pytest.mark.parametrize("coding", [b"", b"Content-Encoding: gzip\r\n"], ids=["plain", "gzip"])
async def test_an_answer_that_breaks_off_is_visibly_cut(coding: bytes) -> None:
    data = gzip.compress(ANSWER, mtime=0) if coding else ANSWER

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(
            HEAD + coding + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b" % (len(data), data[:-4])
        )

    async with stage(loading()) as here:
        waiting(here)
        await here.upstream(script)
        client = await here.client()
        await client.send(post(CHAT))
        await client.read_until(b"\r\n\r\n")
        grant(here)
        got = await client.read_to_end()
        assert not got.endswith(b"0\r\n\r\n")
        assert b'"x":1' in got or coding


async def test_a_full_model_refuses_plainly() -> None:
    async with stage(loading()) as here:
        here.leases.ready = False
        here.leases.error = TooManyRequests()
        client = await here.client()
        await client.send(post(CHAT))
        answer = await client.response()
        assert answer.status == 429
        assert json.loads(answer.body)["error"]["code"] == "concurrency_limit"


@pytest.mark.parametrize(
    ("request_bytes", "ready", "wanted"),
    [
        (post(CHAT), True, True),
        (post(CHAT.replace(b"true", b"false")), False, True),
        (post(CHAT, "/v1/completions"), False, True),
        (post(CHAT, "/v/chat/completions"), False, True),
        (post(CHAT, "/upstream/m/v1/chat/completions"), False, True),
        (post(CHAT), False, False),
    ],
    ids=["ready", "no stream", "completions", "/v", "passthrough", "not wanted"],
)
async def test_nothing_is_told_unless_all_conditions_hold(
    request_bytes: bytes, ready: bool, wanted: bool
) -> None:
    model = loading() if wanted else Model(id="m", aliases=("alias-of-m",))
    async with stage(model) as here:
        waiting(here)
        here.leases.ready = ready

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(ok(b"plain", SSE))

        await here.upstream(script)
        client = await here.client()
        await client.send(request_bytes)
        await settled(lambda: here.leases.waiting == 1)
        grant(here)
        assert (await client.response()).body == b"plain"


async def test_telling_never_delays_the_request() -> None:
    """The client does not read at all; the upstream gets the request all the same."""
    asked = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.read_to_end()

    async with stage(loading()) as here:
        waiting(here)
        await here.upstream(script)
        client = await here.client()
        await client.send(post(CHAT))
        await settled(lambda: here.leases.waiting == 1)
        grant(here)  # in the middle of the title
        with trio.fail_after(5):
            await asked.wait()


async def test_a_client_that_leaves_while_its_model_loads_leaves_the_queue() -> None:
    async with stage(loading()) as here:
        waiting(here)
        client = await here.client()
        await client.send(post(CHAT))
        await client.read_until(b"reasoning_content")
        await client.stream.aclose()
        await settled(lambda: here.leases.waiting == 0, within=5)
        await settled(lambda: not here.site.ongoing)


# --- keep-alive comments --------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/messages"])
async def test_comments_keep_a_silent_stream_alive_before_its_head(path: str) -> None:
    answer = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await answer.wait()
        await peer.send(chunked(ANSWER))

    async with stage(commented()) as here:
        await here.upstream(script)
        client = await here.client()
        await client.send(post(CHAT, path))
        start = await client.read_until(b": keep-alive\n\n")
        assert b"Content-Type: text/event-stream" in start
        answer.set()
        assert (await client.read_until(b"0\r\n\r\n")).endswith(b"\r\n" + chunked(ANSWER)[-40:])


@pytest.mark.parametrize("chunks", [True, False], ids=["chunked", "until close"])
async def test_comments_keep_a_silent_stream_alive_behind_its_head(chunks: bool) -> None:
    answer = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        head, _, body = (chunked(ANSWER) if chunks else until_close(ANSWER)).partition(b"\r\n\r\n")
        await peer.send(head + b"\r\nX-Own: 1\r\n\r\n")
        await answer.wait()
        await peer.send(body)

    async with stage(commented()) as here:
        await here.upstream(script)
        client = await here.client()
        await client.send(post(CHAT))
        start = await client.read_until(b": keep-alive\n\n\r\n")
        assert b"X-Own: 1\r\n" in start
        answer.set()
        client.buffer = start + client.buffer
        assert (await client.response()).body.endswith(b": keep-alive\n\n" + ANSWER)


async def test_errors_after_the_first_comment_read_well_for_anthropic_clients() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await trio.sleep(0.5)

    async with stage(commented()) as here:
        await here.upstream(script)
        client = await here.client()
        await client.send(post(CHAT, "/v1/messages"))
        body = (await client.response()).body
        event = body.rpartition(b": keep-alive\n\n")[2]
        assert event.startswith(b"event: error\ndata: ")
        assert json.loads(event.partition(b"data: ")[2])["type"] == "error"
        assert b"[DONE]" not in body


async def test_no_comment_is_sent_unless_asked_for() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(chunked(ANSWER).partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
        await trio.sleep(0.5)
        await peer.send(b"0\r\n\r\n")

    async with stage() as here:
        await here.upstream(script)
        client = await here.client()
        await client.send(post(CHAT))
        assert (await client.response()).body == b""
