"""The cases of proxying, the loading state, WebSocket and ComfyUI.

Data in `carrying_cases.yaml` where a request and its answer say it all; functions for the rest.
Source: http-api §10.5, §10.8, §10.9.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from attrs import define, field
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.integration.http_cases.case_files import assert_none_is_missing, cases_in
from tests.integration.http_cases.stage import Connection, Reply, Server, running, settled
from tests.integration.http_cases.test_cases import run

SECTIONS = {"P": 25, "L": 10, "W": 9}
STREAM = '{"model":"%s","stream":true}'
JSON = {"Content-Type": "application/json"}


def test_no_case_is_missing() -> None:
    assert_none_is_missing("carrying_cases.yaml", globals(), SECTIONS)


@pytest.mark.parametrize("case", cases_in("carrying_cases.yaml"), ids=lambda case: case["id"])
def test_case(case: dict[str, Any], request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(f"{case.get('server', 'open')}_server")
    for step in case["do"]:
        run(server, step)


@define(eq=False)
class Events:
    """A subscriber of /api/events."""

    connection: Connection
    inflight: dict[str, dict[str, Any]] = field(factory=dict)
    """Requests under way, by id, as told so far."""
    snapshots: int = 0
    _text: bytes = b""

    def read(self) -> None:
        """Take what has come; wait for something."""
        data = self.connection.sock.recv(65536)
        assert data, "the stream of events ended"
        self._text += data
        *whole, self._text = self._text.split(b"\n")
        for line in whole:
            if line.startswith(b"data:"):
                message = json.loads(line[5:])
                if message["type"] == "inflight":
                    self._apply(json.loads(message["data"]))

    def _apply(self, change: dict[str, Any]) -> None:
        match change["operation"]:
            case "snapshot":
                self.snapshots += 1
                self.inflight = {entry["id"]: entry for entry in change["requests"]}
            case "upsert":
                self.inflight[change["request"]["id"]] = change["request"]
            case "remove":
                self.inflight.pop(change["id"], None)
            case other:
                raise AssertionError(f"what is {other}?")

    def wait_for(self, model: str) -> str:
        """The id of a request to `model`, once it is under way."""
        while True:
            for number, entry in self.inflight.items():
                if entry["model"] == model:
                    return number
            self.read()

    def wait_for_head(self, model: str) -> str:
        """The id of a request to `model`, once its response has begun."""
        while True:
            number = self.wait_for(model)
            if self.inflight[number]["resp_headers"]:
                return number
            self.read()

    def wait_until_gone(self, number: str) -> None:
        while number in self.inflight:
            self.read()


@pytest.fixture
def events(open_server: Server) -> Iterator[Events]:
    connection = open_server.connect()
    connection.send("GET", "/api/events")
    found = Events(connection)
    while not found.snapshots:
        found.read()
    yield found
    connection.close()


def begin(server: Server, model: str, query: str = "", *, stream: bool = False) -> Connection:
    """Send a chat request and leave its answer to be read."""
    body = json.dumps({"model": model, "stream": stream}).encode()
    connection = server.connect()
    connection.send("POST", f"/v1/chat/completions{query}", JSON, body)
    return connection


# --- §10.5 proxying -------------------------------------------------------------------------------


def test_the_host_a_peer_sees_is_its_own(open_server: Server) -> None:
    reply = open_server.chat('{"model":"solo"}')
    assert ("Host", f"127.0.0.1:{open_server.peer_port}") in reply.up_headers


def test_P08_hop_by_hop_headers_of_answers(open_server: Server) -> None:
    reply = open_server.chat('{"model":"plain"}', "?mode=hop")
    assert reply.all_headers("Set-Cookie") == ["a=1", "b=2"]
    assert reply.header("X-Hop") is None
    assert reply.header("Keep-Alive") is None
    assert reply.header("X-Accel-Buffering") == "yes"


def test_P09_streams_are_neither_buffered_nor_delayed(open_server: Server) -> None:
    open_server.load("plain")
    connection = begin(open_server, "plain", "?mode=sse", stream=True)
    seen, arrived = b"", []
    while not seen.endswith(b"0\r\n\r\n"):
        data = connection.sock.recv(65536)
        assert data
        seen += data
        if b"data:" in data:
            arrived.append(time.monotonic())
    connection.close()
    assert b"X-Accel-Buffering: no\r\n" in seen
    assert arrived[-1] - arrived[0] > 0.5


def test_P10_compressed_answers_pass_untouched_and_are_read(open_server: Server) -> None:
    newest = open_server.mark()
    reply = open_server.chat('{"model":"plain"}', "?mode=gzip", **{"Accept-Encoding": "gzip"})
    assert reply.header("Content-Encoding") == "gzip"
    assert json.loads(gzip.decompress(reply.body))["up"] == "plain"

    def read() -> bool:  # rows of earlier cases may still be on their way
        rows = [r["tokens"] for r in open_server.rows(20) if r["id"] > newest]
        return (3, 4) in [(t["input_tokens"], t["output_tokens"]) for t in rows]

    settled(read)


def test_P13_a_broken_off_answer_is_no_complete_one(open_server: Server) -> None:
    reply = open_server.chat(STREAM % "plain", "?mode=abort")
    assert (reply.status, reply.cut, reply.complete) == (200, True, False)
    assert reply.body.count(b"data:") == 1


def test_P14_a_head_has_its_limit_and_a_body_has_none(open_server: Server) -> None:
    open_server.load("timid")
    reply = open_server.chat('{"model":"timid"}', "?mode=slow&t=3")
    assert reply.status == 502
    assert "no response head within 1 s" in reply.json()["error"]["message"]
    connection = begin(open_server, "timid", "?mode=sselong", stream=True)
    seen = b""
    while seen.count(b"data:") < 20:  # two seconds of them
        data = connection.sock.recv(65536)
        assert data
        seen += data
    connection.close()


def test_peer_errors_in_plain_text_begin_with_the_program_s_name(open_server: Server) -> None:
    reply = open_server.chat('{"model":"gone"}', Accept="text/plain")
    assert reply.status == 502
    assert reply.body.startswith(b"llama-swap: peer proxy error: ")


def test_P18_a_full_model_refuses_in_json_whatever_is_accepted(
    open_server: Server, events: Events
) -> None:
    open_server.load("lone")
    busy = begin(open_server, "lone", "?mode=slow&t=2")
    number = events.wait_for("lone")
    for headers in ({}, {"Accept": "text/plain"}):
        reply = open_server.chat('{"model":"lone"}', **headers)
        assert reply.status == 429
        assert reply.header("Retry-After") == "1"
        assert reply.header("Content-Type") == "application/json"
        assert reply.json()["error"]["code"] == "concurrency_limit"
    assert number in events.inflight
    assert busy.reply().status == 200
    busy.close()


def test_P19_and_takes_the_next_request_when_the_first_is_done(open_server: Server) -> None:
    busy = begin(open_server, "lone", "?mode=slow&t=0.2")
    assert busy.reply().status == 200
    busy.close()
    assert settled(lambda: open_server.chat('{"model":"lone"}').status == 200)


def test_P20_ten_at_once_by_default(open_server: Server) -> None:
    open_server.load("plain")
    waiting = [begin(open_server, "plain", "?mode=slow&t=2") for _ in range(11)]
    statuses = [connection.reply().status for connection in waiting]
    for connection in waiting:
        connection.close()
    assert sorted(statuses) == [200] * 10 + [429]


def test_P21_a_client_that_leaves_ends_the_generation(open_server: Server, events: Events) -> None:
    open_server.load("plain")
    before = open_server.log.read_text("utf-8", "replace").count("plain write failed")
    connection = begin(open_server, "plain", "?mode=sselong", stream=True)
    connection.sock.recv(65536)
    number = events.wait_for("plain")
    connection.close()
    events.wait_until_gone(number)

    def write_failed() -> bool:
        return open_server.log.read_text("utf-8", "replace").count("plain write failed") > before

    settled(write_failed)  # out of 20 s of stream


def test_P22_an_operator_cuts_a_stream(open_server: Server, events: Events) -> None:
    open_server.load("plain")
    connection = begin(open_server, "plain", "?mode=sselong", stream=True)
    number = events.wait_for_head("plain")
    reply = open_server.manage("POST", f"/api/inflight/{number}/cancel")
    assert (reply.status, reply.json()) == (200, {"msg": "ok"})
    assert connection.reply().cut
    connection.close()
    events.wait_until_gone(number)
    assert open_server.manage("POST", f"/api/inflight/{number}/cancel").status == 404


def test_P23_an_operator_refuses_a_request_that_waits(open_server: Server, events: Events) -> None:
    open_server.unload("slowpoke")
    connection = begin(open_server, "slowpoke")
    number = events.wait_for("slowpoke")
    assert open_server.manage("POST", f"/api/inflight/{number}/cancel").status == 200
    reply = connection.reply()
    connection.close()
    assert (reply.status, reply.json()["error"]["code"]) == (499, "request_cancelled")
    open_server.unload("slowpoke")  # a start that nobody waits for would go on


def test_P24_a_process_that_dies_is_started_again(open_server: Server) -> None:
    open_server.load("plain")
    assert open_server.chat('{"model":"plain"}', "?mode=die").status == 502
    settled(lambda: "plain" not in open_server.running())
    assert open_server.chat('{"model":"plain"}').status == 200


# --- §10.8 loading state --------------------------------------------------------------------------


@define
class Load:
    """What several clients got while one model was loading."""

    replies: dict[str, Reply]
    first_byte: float
    """Seconds until the first client had the head of its answer."""
    stamped: list[tuple[float, bytes]]
    """The pieces of that answer, with their times."""


@pytest.fixture(scope="module")
def load(open_server: Server) -> Load:
    """One load of `slowpoke` with every kind of client waiting for it."""
    open_server.load("plain")
    open_server.unload("slowpoke")
    asked = {
        "json": ("/v1/chat/completions", '{"model":"slowpoke","stream":false}', {}),
        "completions": ("/v1/completions", STREAM % "slowpoke", {}),
        "gzip": (
            "/v1/chat/completions?mode=gzip",
            STREAM % "slowpoke",
            {"Accept-Encoding": "gzip"},
        ),
        "error": ("/v1/chat/completions?mode=err&status=400", STREAM % "slowpoke", {}),
    }
    stamped: list[tuple[float, bytes]] = []

    def watch() -> float:
        began = time.monotonic()
        connection = begin(open_server, "slowpoke", "?mode=sse", stream=True)
        while not b"".join(piece for _, piece in stamped).endswith(b"0\r\n\r\n"):
            data = connection.sock.recv(65536)
            assert data
            stamped.append((time.monotonic(), data))
        connection.close()
        return stamped[0][0] - began

    with ThreadPoolExecutor(5) as pool:
        watched = pool.submit(watch)
        others = {
            name: pool.submit(
                open_server.request, "POST", target, {**JSON, **headers}, body.encode()
            )
            for name, (target, body, headers) in asked.items()
        }
        replies = {name: future.result() for name, future in others.items()}
        return Load(replies, watched.result(), stamped)


def frames(text: str) -> list[Any]:
    """Every event of a stream: `[DONE]`, or what it says."""
    events = [event for event in text.split("\n\n") if event]
    assert all(event.startswith("data: ") for event in events), text
    return [e[6:] if e == "data: [DONE]" else json.loads(e[6:]) for e in events]


def reasoning(found: list[Any]) -> str:
    deltas = [frame["choices"][0]["delta"] for frame in found if told(frame)]
    return "".join(delta["reasoning_content"] for delta in deltas)


def told(frame: Any) -> bool:
    return "reasoning_content" in json.dumps(frame)


def unchunked(raw: bytes) -> str:
    """The text of a chunked answer, head removed."""
    body, text = raw.partition(b"\r\n\r\n")[2], b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        text += rest[: int(size, 16)]
        body = rest[int(size, 16) + 2 :]
    return text.decode()


def test_L01_a_load_is_told_and_the_answer_follows(load: Load) -> None:
    raw = b"".join(piece for _, piece in load.stamped)
    assert raw.startswith(b"HTTP/1.1 200 ")
    assert b"Content-Type: text/event-stream\r\n" in raw
    # the load takes three seconds; the head does not wait for any of them
    assert load.first_byte < 2
    found = frames(unchunked(raw))
    text = reasoning(found)
    assert text.startswith("━━━━━\nllama-swap loading model: slowpoke\n")
    assert "\nDone! (" in text
    answer = [frame for frame in found if not told(frame)]
    contents = [f["choices"][0]["delta"]["content"] for f in answer[:5]]
    assert contents == ["t0", "t1", "t2", "t3", "t4"]
    assert answer[-1] == "[DONE]"
    assert found.index(answer[0]) == len(found) - len(answer)  # nothing of ours behind it


def test_L02_a_ready_model_tells_nothing(load: Load, open_server: Server) -> None:
    open_server.load("slowpoke")
    reply = open_server.chat(STREAM % "slowpoke", "?mode=sse")
    assert "loading" not in reply.body.decode()
    assert reply.header("Server") is not None  # the upstream's own head


def test_L03_without_stream_there_is_one_json(load: Load) -> None:
    assert load.replies["json"].json()["up"] == "slowpoke"


def test_L04_completions_tell_nothing(load: Load) -> None:
    assert load.replies["completions"].json()["up"] == "slowpoke"


def test_L05_a_model_without_it_tells_nothing(open_server: Server) -> None:
    open_server.unload("plain")
    reply = open_server.chat(STREAM % "plain")
    assert reply.json()["up"] == "plain"


def test_L06_a_failed_start_is_told_as_an_event(open_server: Server) -> None:
    reply = open_server.chat(STREAM % "brokens")
    assert (reply.status, reply.complete) == (200, True)
    found = frames(reply.body.decode())
    assert "Done!" not in reasoning(found)
    assert "Failed (" in reasoning(found)
    error, done = found[-2:]
    assert "exited prematurely" in error["error"]["message"]
    assert (error["src"], error["error"]["code"]) == ("llama-swap", "internal_error")
    assert done == "[DONE]"


def test_L07_a_compressed_answer_is_made_readable(load: Load) -> None:
    reply = load.replies["gzip"]
    assert reply.header("Content-Encoding") is None
    *_, answer, done = frames(reply.body.decode())
    assert answer["usage"]["completion_tokens"] == 4
    assert "gzip" not in [v for n, v in answer["headers"] if n.lower() == "accept-encoding"]
    assert done == "[DONE]"


def test_L08_an_error_of_the_upstream_is_an_event(load: Load) -> None:
    *_, error, done = frames(load.replies["error"].body.decode())
    assert (error, done) == ({"error": {"message": "upstream says no"}}, "[DONE]")


def test_the_books_know_what_the_upstream_said(load: Load, open_server: Server) -> None:
    def statuses(model: str) -> set[int]:
        return {r["resp_status_code"] for r in open_server.rows(200) if r["model"] == model}

    settled(lambda: {200, 400} <= statuses("slowpoke"))
    open_server.chat(STREAM % "brokens")
    settled(lambda: statuses("brokens") == {500})
    broken = next(r for r in open_server.rows(200) if r["model"] == "brokens")
    assert "exited prematurely" in broken["error_msg"]


def test_an_operator_s_cancel_is_told_in_the_stream(open_server: Server, events: Events) -> None:
    open_server.unload("slowpoke")
    connection = begin(open_server, "slowpoke", stream=True)
    number = events.wait_for("slowpoke")
    seen = b""
    while b"reasoning_content" not in seen:
        seen += connection.sock.recv(65536)
    assert open_server.manage("POST", f"/api/inflight/{number}/cancel").status == 200
    while data := connection.sock.recv(65536):
        seen += data
    connection.close()
    found = frames(unchunked(seen))
    assert "\nFailed (" in reasoning(found)
    assert (found[-2]["error"]["code"], found[-1]) == ("request_cancelled", "[DONE]")
    events.wait_until_gone(number)
    open_server.unload("slowpoke")


def test_L09_frames_are_small_and_ticks_regular(load: Load) -> None:
    raw = b"".join(piece for _, piece in load.stamped)
    for frame in frames(unchunked(raw)):
        if told(frame):
            assert len(frame["choices"][0]["delta"]["reasoning_content"]) <= 5
    text = reasoning(frames(unchunked(raw)))
    ticks = text.count(".") + text.count("\n") - 7  # less the dot and the line ends of the frame
    seconds = float(text.partition("Done! (")[2].partition("s)")[0])
    assert "." in text.partition("Done!")[0]
    assert 1 < ticks <= seconds / 0.75 + 1


def test_L10_a_full_model_refuses_plainly_while_it_loads(open_server: Server) -> None:
    open_server.unload("slowpoke")
    waiting = [begin(open_server, "slowpoke") for _ in range(10)]
    reply = settled(lambda: full(open_server))
    assert reply.header("Content-Type") == "application/json"
    assert reply.json()["error"]["code"] == "concurrency_limit"
    for connection in waiting:
        connection.close()
    open_server.unload("slowpoke")


def full(server: Server) -> Reply | None:
    connection = begin(server, "slowpoke", stream=True)
    try:
        if connection.sock.recv(12, 2).startswith(b"HTTP/1.1 429"):  # a peek: nothing is taken
            return connection.reply()
        return None
    finally:
        connection.close()


# --- §10.9 WebSocket, ComfyUI ---------------------------------------------------------------------


def upgrade(server: Server, target: str) -> ClientConnection:
    return connect(
        f"ws://127.0.0.1:{server.port}{target}", proxy=None, open_timeout=30, close_timeout=30
    )


def refusal(server: Server, target: str) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as caught:
        upgrade(server, target)
    answer = caught.value.response
    return answer.status_code, json.loads(answer.body or b"")["error"]["message"]


def test_W01_a_websocket_starts_its_model(open_server: Server) -> None:
    open_server.unload("plain")
    with upgrade(open_server, "/upstream/plain/ws") as socket:
        socket.send("ping")
        assert socket.recv(30) == "ping"
        socket.send(b"\x00\xff" * 30_000)
        assert socket.recv(30) == b"\x00\xff" * 30_000
    assert "plain" in open_server.running()


def test_W02_one_on_a_route_is_under_way_while_it_is_open(
    open_server: Server, events: Events
) -> None:
    with upgrade(open_server, "/props?model=plain") as socket:
        number = events.wait_for("plain")
        socket.send("ping")
        assert socket.recv(30) == "ping"
        assert number in events.inflight
    events.wait_until_gone(number)


def test_W03_routes_for_posts_take_none(open_server: Server) -> None:
    status, _ = refusal(open_server, "/v1/chat/completions")
    assert status == 405


def test_W04_an_ignored_one_starts_nothing(open_server: Server) -> None:
    open_server.unload("sock")
    status, message = refusal(open_server, "/upstream/sock/ws")
    assert status == 409
    assert message == "model sock is not loaded; ignored websocket requests cannot start it"
    assert "sock" not in open_server.running()


def test_W05_an_ignored_one_is_not_in_the_way(open_server: Server, events: Events) -> None:
    open_server.load("sock")
    with upgrade(open_server, "/upstream/sock/ws") as socket:
        socket.send("ping")
        assert socket.recv(30) == "ping"
        open_server.chat('{"model":"plain"}')  # a later request has been told, so ours would be
        assert "sock" not in [entry["model"] for entry in events.inflight.values()]
        open_server.unload("sock")
        with pytest.raises(ConnectionClosed):
            socket.recv(30)
    assert "sock" not in open_server.running()


def test_W06_only_its_root_may_start_comfyui(open_server: Server) -> None:
    open_server.unload("comfyui_auto")
    reply = open_server.request("GET", "/comfyui/api/prompt")
    literal = "model comfyui_auto is not loaded; only /comfyui/ can start it"
    assert (reply.status, reply.json()["error"]["message"]) == (409, literal)
    assert refusal(open_server, "/comfyui/ws") == (409, literal)
    assert "comfyui_auto" not in open_server.running()


def test_W07_and_does(open_server: Server) -> None:
    reply = open_server.request("GET", "/comfyui/?t=1")
    assert (reply.json()["up"], reply.json()["path"]) == ("comfy", "/?t=1")


def test_W08_tails_arrive_as_they_were_sent(open_server: Server) -> None:
    open_server.request("GET", "/comfyui/")
    reply = open_server.request("POST", "/comfyui/api/userdata/w%2Fx.json?p=1", body=b"{}")
    assert (reply.status, reply.json()["path"]) == (200, "/api/userdata/w%2Fx.json?p=1")
    with upgrade(open_server, "/comfyui/ws?clientId=1") as socket:
        socket.send("ping")
        assert socket.recv(30) == "ping"


def test_W09_without_that_model_there_is_nothing(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with running(tmp_path_factory.mktemp("none"), "models: {}\n") as server:
        reply = server.request("GET", "/comfyui/")
        assert reply.status == 404
        assert "local model comfyui_auto not found" in reply.json()["error"]["message"]
