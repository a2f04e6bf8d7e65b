"""The cases of events, logs, activity and captures. Source: http-api §10.10 (E, T)."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from tests.integration.http_cases.events import Events, Message, listening
from tests.integration.http_cases.stage import Reply, Server, serving, settled

OTHER = {"Content-Type": "application/octet-stream"}
SECTIONS = {"E": 10, "T": 18}
ELSEWHERE = {"E06": "tests/unit/test_event_stream.py: on a clock that jumps"}


def test_no_case_is_missing() -> None:
    written = {name.split("_")[1] for name in globals() if name[5:6] in SECTIONS} | set(ELSEWHERE)
    wanted = {f"{letter}{n:02}" for letter, count in SECTIONS.items() for n in range(1, count + 1)}
    assert written == wanted


def row_after(server: Server, before: int) -> dict[str, Any]:
    """The one row that was written since."""
    rows = settled(lambda: [row for row in server.rows() if row["id"] > before])
    assert len(rows) == 1
    return dict(rows[0])


def row_of(server: Server, target: str, body: str = "", **headers: str) -> dict[str, Any]:
    """The row of a POST."""
    before = server.mark()
    kinds = {"Content-Type": "application/json", **headers}
    server.request("POST", target, kinds, body.encode())
    return row_after(server, before)


def of_model(model: str) -> str:
    return json.dumps({"model": model})


# --- events ---------------------------------------------------------------------------------------


def test_E01_the_first_messages_and_the_headers(open_server: Server) -> None:
    with listening(open_server) as events:
        assert events.head.status == 200
        for name, value in {
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-cache",
            "X-Content-Type-Options": "nosniff",
            "X-Accel-Buffering": "no",
        }.items():
            assert events.head.header(name) == value
        first = [events.next() for _ in range(6)]
        assert [message.type for message in first] == [
            "logData",
            "logData",
            "modelStatus",
            "uiConfig",
            "profileChanged",
            "inflight",
        ]
        assert [message.data["source"] for message in first[:2]] == ["proxy", "upstream"]
        assert first[3].data == {
            "activity": {"session_id": ["X-Session-ID", "X-Litellm-Session-Id"]}
        }
        assert first[4].data == {"active": None}
        assert (first[5].data["operation"], first[5].data["requests"]) == ("snapshot", [])


def test_E01_model_status_lists_local_models_then_peers(open_server: Server) -> None:
    open_server.load("plain")
    with listening(open_server) as events:
        status = events.of("modelStatus").data
    ids = [entry["id"] for entry in status]
    local = [entry["id"] for entry in status if not entry["peerID"]]
    assert ids == local + [entry["id"] for entry in status if entry["peerID"]]
    assert local == sorted(local)
    assert "secret" in local
    assert ids[len(local) :] == sorted(ids[len(local) :])
    plain = next(entry for entry in status if entry["id"] == "plain")
    assert plain["state"] == "ready"
    assert plain["capabilities"] == {"vision": True, "function_calling": True}
    assert plain["context_length"] == 4096
    east = next(entry for entry in status if entry["id"] == "east/solo")
    assert (east["state"], east["peerID"], "aliases" in east) == ("", "east", False)


def test_E02_every_message_is_two_lines_with_json_in_a_string(open_server: Server) -> None:
    with listening(open_server) as events:
        events.of("inflight")
        blocks = events.raw.split(b"\n\n")[:-1]
    assert len(blocks) >= 6
    for block in blocks:
        match = re.fullmatch(rb"event:message\ndata:(\{.*\})", block)
        assert match is not None
        outer = json.loads(match[1])
        assert set(outer) == {"type", "data"}
        assert isinstance(outer["data"], str)
        json.loads(outer["data"])


def test_E03_a_request_is_told_from_its_start_to_its_row(open_server: Server) -> None:
    open_server.load("plain")
    before = open_server.mark()
    with listening(open_server) as events:
        events.of("inflight")
        open_server.chat(of_model("plain"), "?mode=usage")
        told: list[Message] = []
        while not told or told[-1].type != "activity":
            message = events.until(lambda m: m.type in ("inflight", "activity"))
            told.append(message)
    assert [message.data.get("operation") for message in told] == [
        "upsert",
        "upsert",
        "remove",
        None,
    ]
    first, second, removed, stored = (message.data for message in told)
    assert first["request"]["resp_headers"] == {}
    assert second["request"]["resp_headers"]["Content-Type"] == "application/json"
    request = second["request"]
    assert (request["model"], request["req_path"], request["method"]) == (
        "plain",
        "/v1/chat/completions",
        "POST",
    )
    assert request["id"] == first["request"]["id"] == removed["id"]
    assert "Host" not in request["req_headers"]
    assert request["req_headers"]["Content-Type"] == "application/json"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", request["timestamp"])
    assert request["elapsed_ms"] >= 0
    assert stored == {"id": row_after(open_server, before)["id"]}


def test_E04_a_growing_body_is_told_now_and_then(open_server: Server) -> None:
    open_server.load("plain")
    connection = open_server.connect()
    with listening(open_server, "?topics=inflight") as events:
        events.of("inflight")
        connection.send(
            "POST",
            "/v1/chat/completions?mode=sselong",
            {"Content-Type": "application/json", "Cookie": "a", "x-api-key": "k"},
            of_model("plain").encode(),
        )
        upserts = [events.of("inflight") for _ in range(6)]
        requests = [message.data["request"] for message in upserts]
        assert open_server.manage("POST", f"/api/inflight/{requests[0]['id']}/cancel").status == 200
        assert connection.reply("POST").cut
    connection.close()
    growing = requests[2:]
    assert all(a["resp_bytes"] < b["resp_bytes"] for a, b in pairwise(growing))
    assert all(b["elapsed_ms"] - a["elapsed_ms"] >= 240 for a, b in pairwise(growing))
    assert requests[0]["req_headers"]["Cookie"] == "[REDACTED]"
    assert requests[0]["req_headers"]["X-Api-Key"] == "[REDACTED]"


def test_E05_the_first_forwarded_address_is_the_remote_one(open_server: Server) -> None:
    open_server.load("plain")
    with listening(open_server) as events:
        events.of("inflight")
        open_server.chat(of_model("plain"), **{"X-Forwarded-For": "203.0.113.9, 10.0.0.1"})
        assert events.of("inflight").data["request"]["remote_ip"] == "203.0.113.9"


def test_E07_the_history_of_what_stdout_shows(open_server: Server) -> None:
    plain = open_server.manage("GET", "/logs")
    assert (plain.status, plain.header("Content-Type")) == (200, "text/plain")
    page = open_server.request("GET", "/logs", {"Accept": "text/html"})
    assert (page.status, page.header("Location") or "") >= (302, "/ui/")


def first_bytes(server: Server, target: str) -> tuple[Events, bytes]:
    connection = server.connect()
    connection.send("GET", target)
    events = Events(connection)
    while not events.head.status:
        events._parser.feed_data(connection.sock.recv(65536))
    return events, events.raw


@pytest.mark.parametrize("name", ["org/beta", "org%2Fbeta", "alpha-alias"])
def test_E08_the_history_of_one_model(open_server: Server, name: str) -> None:
    model = "alpha" if name == "alpha-alias" else "org/beta"
    open_server.load(model)
    connection = open_server.connect()
    connection.send("GET", f"/logs/stream/{name}")
    data = b""
    wanted = f"{model.rpartition('/')[2]} listening".encode()
    while wanted not in data:
        more = connection.sock.recv(65536)
        assert more
        data += more
    connection.close()


@pytest.mark.parametrize("name", ["nope", "east/solo", "pool"])
def test_E09_what_is_no_model_of_ours_has_no_log(open_server: Server, name: str) -> None:
    reply = open_server.manage("GET", f"/logs/stream/{name}")
    assert reply.status == 400
    assert reply.json()["error"]["message"].startswith("invalid logger")


def test_E10_the_head_comes_before_there_is_anything_to_say(open_server: Server) -> None:
    open_server.unload("cold")
    events, body = first_bytes(open_server, "/logs/stream/cold?no-history")
    assert (events.head.status, body) == (200, b"")
    events.connection.close()


# --- rows -----------------------------------------------------------------------------------------


def test_T01_usage_of_openai(open_server: Server) -> None:
    row = row_of(open_server, "/v1/chat/completions?mode=usage", of_model("alpha-alias"))
    assert row["model"] == "alpha"
    assert row["tokens"] == {
        "input_tokens": 3,
        "output_tokens": 4,
        "cache_tokens": 2,
        "draft_tokens": -1,
        "draft_acc_tokens": -1,
        "prompt_per_second": -1,
        "tokens_per_second": -1,
    }
    assert row["metadata"] == {"fifo_priority": "0"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row["timestamp"])


def test_T02_timings_of_llama_server(open_server: Server) -> None:
    row = row_of(open_server, "/infill?mode=timings", of_model("plain"))
    assert row["tokens"] == {
        "input_tokens": 20,
        "output_tokens": 50,
        "cache_tokens": 8,
        "draft_tokens": 9,
        "draft_acc_tokens": 4,
        "prompt_per_second": 100,
        "tokens_per_second": 40,
    }
    assert row["duration_ms"] >= 1450


def test_T03_usage_at_the_end_of_a_stream(open_server: Server) -> None:
    row = row_of(open_server, "/v1/chat/completions?mode=sse", of_model("plain"))
    tokens = row["tokens"]
    assert (tokens["input_tokens"], tokens["output_tokens"], tokens["cache_tokens"]) == (11, 5, -1)
    assert row["resp_content_type"] == "text/event-stream"


def test_T04_a_compressed_answer(open_server: Server) -> None:
    row = row_of(open_server, "/v1/chat/completions?mode=gzip", of_model("plain"))
    assert row["tokens"]["input_tokens"] == 3
    capture = open_server.manage("GET", f"/api/captures/{row['id']}").json()
    assert json.loads(base64.b64decode(capture["resp_body"]))["usage"]["prompt_tokens"] == 3
    assert "Content-Encoding" not in capture["resp_headers"]


def test_T05_an_error_is_kept_with_its_message_and_without_its_body(open_server: Server) -> None:
    row = row_of(open_server, "/v1/chat/completions?mode=err&status=503", of_model("plain"))
    assert (row["resp_status_code"], row["error_msg"]) == (503, "upstream says no")
    capture = open_server.manage("GET", f"/api/captures/{row['id']}").json()
    assert capture["resp_body"] is None
    assert capture["resp_headers"]["Content-Type"] == "application/json"
    assert base64.b64decode(capture["req_body"]) == of_model("plain").encode()


def test_T06_no_usage_is_all_zeros(open_server: Server) -> None:
    row = row_of(open_server, "/v1/chat/completions", of_model("plain"))
    assert set(row["tokens"].values()) == {0}


def test_T07_every_2xx_is_a_success(open_server: Server) -> None:
    row = row_of(open_server, "/v1/chat/completions?mode=err&status=201", of_model("plain"))
    assert row["resp_status_code"] == 201
    assert "error_msg" not in row


def test_T08_a_client_that_leaves_the_queue(open_server: Server) -> None:
    open_server.unload("slowpoke")
    before = open_server.mark()
    connection = open_server.connect()
    with listening(open_server, "?topics=inflight") as events:
        events.of("inflight")
        connection.send(
            "POST",
            "/v1/embeddings",
            {"Content-Type": "application/json"},
            of_model("slowpoke").encode(),
        )
        assert events.of("inflight").data["request"]["waiting"]
        connection.close()
    row = row_after(open_server, before)
    assert (row["resp_status_code"], row["error_msg"]) == (499, "client disconnected")
    assert (row["model"], set(row["tokens"].values())) == ("slowpoke", {0})


def test_T09_a_GET_is_in_flight_and_leaves_no_row(open_server: Server) -> None:
    open_server.load("plain")
    before = open_server.mark()
    with listening(open_server, "?topics=inflight") as events:
        events.of("inflight")
        assert open_server.manage("GET", "/props?model=plain").status == 200
        assert events.of("inflight").data["request"]["req_path"] == "/props"
        events.until(lambda message: message.data["operation"] == "remove")
    assert open_server.mark() == before + 1


def test_T10_inference_below_upstream(open_server: Server) -> None:
    row = row_of(open_server, "/upstream/plain/v1/embeddings?mode=usage")
    assert (row["req_path"], row["model"], row["tokens"]["input_tokens"]) == (
        "/v1/embeddings",
        "plain",
        3,
    )
    open_server.request("POST", "/upstream/plain/probe", {}, b"")
    assert open_server.mark() == row["id"] + 1


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=0", "limit must be between 1 and 999"),
        ("limit=1000", "limit must be between 1 and 999"),
        ("limit=x", "invalid limit"),
        ("page=0", "page must be >= 1"),
        ("sort=bogus", "invalid sort column"),
        ("order=up", "order must be asc or desc"),
        ("min_id=3&max_id=2", "min_id must be <= max_id"),
        ("max_id=0", "max_id must be >= 1"),
        ("min_id=0", "min_id must be >= 1"),
        ("start=2026-01-01", "invalid 'start' timestamp, use RFC3339 format"),
        ("end=soon", "invalid 'end' timestamp, use RFC3339 format"),
        (
            "start=2026-01-02T00:00:00Z&end=2026-01-01T00:00:00Z",
            "start must be before end",
        ),
        ("status=7xx", "status must be a number or a class such as 4xx"),
    ],
)
def test_T11_parameters_that_mean_nothing(open_server: Server, query: str, message: str) -> None:
    reply = open_server.manage("GET", f"/api/metrics/activity?{query}")
    assert (reply.status, reply.json()["error"]["message"]) == (400, message)


def test_T12_behind_the_last_page(open_server: Server) -> None:
    row_of(open_server, "/v1/chat/completions", of_model("plain"))
    first = open_server.manage("GET", "/api/metrics/activity?limit=1").json()
    behind = open_server.manage("GET", "/api/metrics/activity?page=9999&limit=1").json()
    assert behind["data"] == []
    assert (behind["page"], behind["limit"]) == (9999, 1)
    assert (behind["total"], behind["total_pages"]) == (first["total"], first["total_pages"])


def test_T13_models_are_alternatives_and_bounds_hold_for_all(open_server: Server) -> None:
    low = row_of(open_server, "/v1/chat/completions", of_model("alpha"))["id"]
    high = row_of(open_server, "/v1/chat/completions", of_model("plain"))["id"]
    row_of(open_server, "/v1/chat/completions", of_model("org"))
    query = f"model=alpha&model=plain&model=&min_id={low}"
    page = open_server.manage("GET", f"/api/metrics/activity?{query}").json()
    assert [row["id"] for row in page["data"]] == [high, low]
    assert (page["total"], page["total_pages"]) == (2, 1)
    page = open_server.manage("GET", f"/api/metrics/activity?{query}&max_id={low}&order=ASC").json()
    assert [row["id"] for row in page["data"]] == [low]


def test_T14_a_capture_shows_what_was_sent_upstream(open_server: Server) -> None:
    row = row_of(
        open_server,
        "/v1/chat/completions?mode=usage",
        of_model("alpha"),
        **{"X-Api-Key": "secret", "api-key": "secret"},
    )
    assert row["has_capture"]
    capture = open_server.manage("GET", f"/api/captures/{row['id']}").json()
    assert (capture["id"], capture["req_path"]) == (row["id"], "/v1/chat/completions")
    assert json.loads(base64.b64decode(capture["req_body"]))["model"] == "real-alpha"
    assert capture["req_headers"]["X-Api-Key"] == "[REDACTED]"
    assert capture["req_headers"]["Api-Key"] == "[REDACTED]"
    assert json.loads(base64.b64decode(capture["resp_body"]))["usage"]["completion_tokens"] == 4
    assert capture["resp_headers"]["Content-Type"] == "application/json"


def test_T15_some_bodies_are_not_kept(open_server: Server) -> None:
    speech = row_of(open_server, "/v1/audio/speech", of_model("plain"))["id"]
    edits = row_of(open_server, "/v1/images/edits?model=plain", "{}", **OTHER)["id"]
    transcriptions = row_of(open_server, "/v1/audio/transcriptions?model=plain", "x", **OTHER)["id"]
    bodies = [
        (capture["req_body"] is None, capture["resp_body"] is None)
        for capture in (
            open_server.manage("GET", f"/api/captures/{number}").json()
            for number in (speech, edits, transcriptions)
        )
    ]
    assert bodies == [(False, True), (True, True), (True, False)]


@pytest.mark.parametrize(("number", "status"), [("x", 400), ("99999", 404), ("1.5", 400)])
def test_T16_captures_that_are_not_there(open_server: Server, number: str, status: int) -> None:
    reply = open_server.manage("GET", f"/api/captures/{number}")
    message = "invalid capture ID" if status == 400 else "capture not found"
    assert (reply.status, reply.json()["error"]["message"]) == (status, message)


@pytest.fixture(scope="module")
def frugal_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Without captures, rows in a file."""
    folder = tmp_path_factory.mktemp("frugal")
    more = f"captureBuffer: 0\nstore: {{path: {folder / 'activity.db'}}}\n"
    with serving(folder, more) as server:
        yield server


def test_T17_no_buffer_no_captures(frugal_server: Server) -> None:
    row = row_of(frugal_server, "/v1/chat/completions?mode=usage", of_model("plain"))
    assert (row["has_capture"], row["tokens"]["input_tokens"]) == (False, 3)
    assert frugal_server.manage("GET", f"/api/captures/{row['id']}").status == 404


def test_T18_statistics_of_nothing(open_server: Server) -> None:
    stats: Reply = open_server.manage("GET", "/api/metrics/stats?model=nope")
    assert stats.json() == {
        "total_requests": 0,
        "total_input_tokens": 0,
        "total_output_tokens": 0,
        "total_cache_tokens": 0,
        "prompt_histogram": None,
        "gen_histogram": None,
    }
