"""curl, httpx and websockets, unmodified; and pipelining, which none of them does by itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.integration.clients.conftest import KEY
from tests.integration.http_cases.stage import Server

BODY = {"model": "gpt", "messages": [{"role": "user", "content": "hello"}]}
HEADERS = {"Authorization": f"Bearer {KEY}"}


# --- curl -----------------------------------------------------------------------------------------


def curl(server: Server, path: str, *flags: str, keyed: bool = True) -> bytes:
    command = ["curl", "--silent", "--show-error", "--max-time", "60", "--noproxy", "*", *flags]
    if keyed:
        command += ["-H", f"Authorization: Bearer {KEY}"]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{server.port}{path}"], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def as_json(body: dict[str, Any]) -> list[str]:
    return ["-H", "Content-Type: application/json", "-d", json.dumps(body)]


@pytest.mark.parametrize("version", ["--http1.1", "--http1.0", "--http2"])
def test_curl_chats_in_any_version_of_http(server: Server, version: str) -> None:
    found = json.loads(curl(server, "/v1/chat/completions", version, *as_json(BODY)))
    assert found["choices"][0]["message"]["content"] == "The answer is forty-two."


@pytest.mark.parametrize("version", ["--http1.1", "--http1.0"])
def test_curl_streams(server: Server, version: str) -> None:
    stream = curl(server, "/v1/chat/completions", "-N", version, *as_json({**BODY, "stream": True}))
    assert stream.startswith(b"data: ")
    assert stream.endswith(b"data: [DONE]\n\n")


def test_curl_sends_a_large_file_with_expect_and_one_of_unknown_length(
    server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes(b"\x00\xff" * 2_000_000)
    form = ["-F", "model=gpt", "-F", f"file=@{file}", "-H", "Expect: 100-continue"]
    assert b"multipart/form-data" in curl(server, "/v1/audio/transcriptions", *form)
    body = tmp_path / "body.json"
    body.write_text(json.dumps({**BODY, "padding": "x" * 2_000_000}))
    chunked = ["-H", "Transfer-Encoding: chunked", "-H", "Content-Type: application/json"]
    found = curl(server, "/v1/chat/completions", *chunked, "--data-binary", f"@{body}")
    assert b"forty-two" in found


def test_curl_heads_options_and_reuse(server: Server) -> None:
    assert curl(server, "/health", "--head").startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Access-Control-Allow-Origin: *" in curl(server, "/v1/models", "-i", "-X", "OPTIONS")
    port = f"http://127.0.0.1:{server.port}"
    twice = curl(server, "/health", "-w", " %{num_connects} ", f"{port}/health", keyed=False)
    assert twice == b"OK 1 OK 0 "


def test_curl_says_why_it_failed(server: Server) -> None:
    answer = curl(server, "/v1/chat/completions", "-i", *as_json({"model": "nobody"}))
    assert answer.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert b"no router for requested model: nobody" in answer
    assert curl(server, "/running", "-i", keyed=False).startswith(b"HTTP/1.1 401 Unauthorized")


# --- httpx ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [20, 0], ids=["connections kept", "a connection each"])
async def test_httpx_asks_many_things_at_once(server: Server, kept: int) -> None:
    limits = httpx.Limits(max_connections=8, max_keepalive_connections=kept)
    answers: list[str] = []
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{server.port}",
        headers=HEADERS,
        limits=limits,
        timeout=60,
        trust_env=False,
    ) as client:

        async def ask(number: int) -> None:
            body = {**BODY, "stream": number % 2 == 0}
            answer = await client.post("/v1/chat/completions", json=body)
            assert answer.status_code == 200
            answers.append(answer.text)

        async with trio.open_nursery() as nursery:
            for number in range(60):
                nursery.start_soon(ask, number)
    assert len(answers) == 60
    assert sum(text.endswith("data: [DONE]\n\n") for text in answers) == 30
    assert all("forty-" in text for text in answers)


async def test_httpx_reads_line_by_line_and_may_leave(server: Server) -> None:
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{server.port}", headers=HEADERS, timeout=60, trust_env=False
    ) as client:
        for _ in range(15):
            request = client.build_request(
                "POST", "/v1/chat/completions", json={**BODY, "stream": True}
            )
            answer = await client.send(request, stream=True)
            lines = answer.aiter_lines()
            assert (await anext(lines)).startswith("data: ")
            await lines.aclose()  # type: ignore[attr-defined]
            await answer.aclose()
        assert (await client.post("/v1/chat/completions", json=BODY)).status_code == 200


@pytest.mark.parametrize("together", [False, True], ids=["one by one", "pipelined"])
def test_requests_on_one_connection_are_answered_in_order(server: Server, together: bool) -> None:
    connection = server.connect()
    seen = b""
    try:
        for number in range(12):
            body = {**BODY, "stream": number % 3 == 0}
            target = "/v1/chat/completions" if number % 4 else "/v1/models"
            connection.send(
                "POST" if number % 4 else "GET",
                target,
                {**HEADERS, "Content-Type": "application/json", "X-Number": str(number)},
                json.dumps(body).encode() if number % 4 else None,
            )
            if not together:
                assert connection.reply().status == 200
        if together:
            connection.send("GET", "/health", {"Connection": "close"})
            while data := connection.sock.recv(65536):
                seen += data
            assert seen.count(b"HTTP/1.1 200 OK\r\n") == 13
            kinds = [b"models", b"chat", b"chat", b"sse"]
            assert [kind_of(part) for part in seen.split(b"HTTP/1.1 200 OK\r\n")[1:5]] == kinds
            assert seen.endswith(b"\r\n\r\nOK")
    finally:
        connection.close()


def kind_of(answer: bytes) -> bytes:
    if b"[DONE]" in answer:
        return b"sse"
    return b"chat" if b"chat.completion" in answer else b"models"


# --- websockets -----------------------------------------------------------------------------------


@pytest.fixture
def address(server: Server) -> str:
    return f"ws://127.0.0.1:{server.port}/upstream/sockets"


def test_websockets_keep_kind_boundaries_and_size(address: str) -> None:
    with connect(
        f"{address}/a%2Fb?x=1",
        proxy=None,
        additional_headers=HEADERS,
        subprotocols=[Subprotocol("chat.v2")],
        max_size=None,
    ) as socket:
        for message in ("text", b"bytes", "", b"", "ü" * 100_000, b"\x00\xff" * 1_000_000):
            socket.send(message)
            assert socket.recv(60) == message
        socket.send(["in ", "three ", "parts"])
        assert socket.recv(60) == "in three parts"
        assert socket.ping().wait(60)
        socket.send("facts")
        assert socket.recv(60) == "/a%2Fb?x=1 chat.v2 True"


def test_websockets_keep_subprotocol_and_compression_as_negotiated(address: str) -> None:
    with connect(
        f"{address}/",
        proxy=None,
        additional_headers=HEADERS,
        subprotocols=[Subprotocol("chat.v1"), Subprotocol("other")],
        compression=None,
    ) as socket:
        assert socket.subprotocol == "chat.v1"
        socket.send("facts")
        assert socket.recv(60) == "/ chat.v1 False"


def test_websockets_keep_code_and_reason_of_the_close(address: str) -> None:
    with connect(
        f"{address}/",
        proxy=None,
        additional_headers=HEADERS,
        subprotocols=[Subprotocol("chat.v2")],
    ) as socket:
        socket.send("close")
        with pytest.raises(ConnectionClosedError) as caught:
            socket.recv(60)
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4321, "as you wish")


def test_websockets_learn_why_they_are_refused(address: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        connect(f"{address}/refuse", proxy=None, additional_headers=HEADERS)
    assert caught.value.response.status_code == 403
    assert caught.value.response.body == b"not here"
    with pytest.raises(InvalidStatus) as caught:
        connect(f"{address}/", proxy=None)
    assert caught.value.response.status_code == 401
