"""The cases of routing, resolution, rewriting, keys, profiles, selectors and listings.

Data in `cases.yaml`; what needs more than requests one after the other is a function here.
Source: http-api §10.2–§10.4, §10.6, §10.7, §10.10 (J).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.integration.http_cases.case_files import assert_none_is_missing, cases_in
from tests.integration.http_cases.stage import Connection, Reply, Server

SECTIONS = {"R": 26, "M": 34, "B": 15, "A": 10, "X": 20, "J": 8}


def test_no_case_is_missing() -> None:
    assert_none_is_missing("cases.yaml", globals(), SECTIONS)


@pytest.mark.parametrize("case", cases_in("cases.yaml"), ids=lambda case: case["id"])
def test_case(case: dict[str, Any], request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(f"{case.get('server', 'open')}_server")
    server.load(*case.get("ready", []))
    server.unload(*case.get("stopped", []))
    if "profile" in case:
        server.profile(case["profile"])
    try:
        for step in case["do"]:
            run(server, step)
        running = server.running() if case.get("running") or case.get("not_running") else {}
        assert set(case.get("running", [])) <= set(running)
        assert not set(case.get("not_running", [])) & set(running)
    finally:
        if "profile" in case:
            server.profile(None)


def run(server: Server, step: Mapping[str, Any]) -> None:
    headers = dict(step.get("with", {}))
    body = step["body"].encode("latin-1") if "body" in step else None
    if "chat" in step:
        method, target = "POST", "/v1/chat/completions"
        headers["Content-Type"] = "application/json"
        body = step["chat"].encode()
    else:
        method, target = step["send"].split(" ", 1)
        if "type" in step:
            headers["Content-Type"] = step["type"]
    newest = server.mark() if "row" in step else 0
    reply = server.request(method, target, headers, body)
    said = f"{method} {target} -> {reply}"
    wanted = step["status"]
    assert reply.status in (wanted if isinstance(wanted, list) else [wanted]), said
    check(reply, step, said)
    if "row" in step:
        check_row(server, step["row"], newest)


def check(reply: Reply, step: Mapping[str, Any], said: str) -> None:
    for name, value in step.get("headers", {}).items():
        assert reply.header(name) == value, said
    if "text" in step:
        assert reply.body.decode() == step["text"], said
    if "message" in step or "code" in step:
        error = reply.json()["error"]
        assert reply.json()["src"] == "llama-swap"
        assert step.get("message", "") in error["message"], said
        assert error["code"] == step.get("code", error["code"]), said
        assert error["param"] is None
    if "json" in step:
        assert_contains(reply.json(), step["json"])
    seen = {"up": "up", "target": "path", "method": "method", "sent": "body"}
    for key, name in seen.items():
        if key in step:
            assert reply.json()[name] == step[key], said
    if "sent_json" in step:
        assert json.loads(reply.json()["body"]) == step["sent_json"], said
    if "order" in step:
        pairs = json.loads(reply.json()["body"], object_pairs_hook=list)
        assert [name for name, _ in pairs] == step["order"], said
    for name, value in step.get("saw", {}).items():
        found = [v for n, v in reply.up_headers if n.lower() == name.lower()]
        assert found == ([] if value is None else [value]), said


def assert_contains(actual: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        for key, value in expected.items():
            assert_contains(actual[key], value)
    else:
        assert actual == expected


def check_row(server: Server, expected: Mapping[str, Any] | None, before: int) -> None:
    """The row written since the marker `before`: the expected one, or none."""
    after = server.mark()
    rows = [row for row in server.rows() if before < row["id"] < after]
    if expected is None:
        assert rows == []
    else:
        assert len(rows) == 1
        assert_contains(rows[0], expected)


def test_X03_a_profile_is_activated_once_however_often_it_is_asked_for(
    open_server: Server,
) -> None:
    following = open_server.connect()
    following.send("GET", "/api/events")
    seen = read_until(following, b'"type":"inflight"')  # the last of the first messages
    assert seen.count(b"profileChanged") == 1
    try:
        for _ in range(2):
            reply = open_server.manage("PUT", "/api/profiles/active", b'{"name":"night"}')
            assert (reply.status, reply.json()) == (200, {"active": "night"})
    finally:
        open_server.profile(None)
    seen = read_until(following, b'{\\"active\\":null}')
    following.close()
    assert seen.count(b"profileChanged") == 2
    assert seen.count(b'{\\"active\\":\\"night\\"}') == 1


def read_until(connection: Connection, mark: bytes) -> bytes:
    seen = b""
    while mark not in seen:
        data = connection.sock.recv(65536)
        assert data, seen
        seen += data
    return seen


def listed(server: Server, **headers: str) -> dict[str, dict[str, Any]]:
    reply = server.request("GET", "/v1/models", headers)
    records = reply.json()["data"]
    ids = [record["id"] for record in records]
    assert ids == sorted(ids, key=str.encode)
    assert len(ids) == len(set(ids))
    return {record["id"]: record for record in records}


def test_X11_the_active_profile_adds_its_names_to_the_list(open_server: Server) -> None:
    open_server.profile("night")
    try:
        records = listed(open_server)
    finally:
        open_server.profile(None)
    for name in ("pub", "expose", "viasel", "org/pin"):
        assert records[name]["meta"] == {"llamaswap": {"type": "profile"}}
        assert records[name]["status"] == {"value": "unloaded"}
        assert "name" not in records[name]
    assert "off" not in records
    assert "secret" not in records
    assert records["plain"]["meta"]["llamaswap"]["type"] == "model"
    assert "pub" not in listed(open_server)


def test_X17_overlapping_requests_of_a_spillover_go_to_different_targets(
    open_server: Server,
) -> None:
    open_server.load("alpha", "plain")
    with ThreadPoolExecutor(3) as threads:
        replies = list(
            threads.map(lambda _: open_server.chat('{"model":"pool"}', "?mode=slow&t=1"), range(3))
        )
    ups = [reply.json()["up"] for reply in replies]
    assert set(ups) == {"alpha", "plain"}


def test_J01_what_is_listed(open_server: Server) -> None:
    reply = open_server.request("GET", "/v1/models", {"Origin": "http://x"})
    assert reply.header("Access-Control-Allow-Origin") == "http://x"
    assert reply.header("Vary") == "Origin"
    records = listed(open_server)
    assert not {"secret", "ghost", "shared"} & set(records)
    assert {"east/shared", "west/shared", "east/lab/m", "open/anon"} <= set(records)
    for alias in ("alpha-alias", "alpha:hot", "org/al"):
        assert records[alias]["meta"]["llamaswap"] == {"type": "alias", "modelID": "alpha"}
        assert records[alias]["name"] == "Alpha"
    own = records["alpha"]["meta"]["llamaswap"]
    assert own == {"type": "model", "aliases": ["alpha-alias", "org/al", "alpha:hot"]}
    peer = records["east/solo"]
    assert (peer["name"], peer["status"]) == ("east: solo", {"value": "unloaded"})
    assert peer["meta"]["llamaswap"] == {"type": "peer", "peerID": "east"}
    for record in records.values():
        assert (record["object"], record["owned_by"]) == ("model", "llama-swap")
    assert open_server.request("GET", "/models").json()["object"] == "list"


def test_J02_capabilities_and_metadata(open_server: Server) -> None:
    record = listed(open_server)["plain"]
    assert record["architecture"] == {
        "input_modalities": ["text", "image"],
        "output_modalities": ["text"],
        "modality": "text+image->text",
    }
    assert record["capabilities"] == {"vision": True, "function_calling": True}
    assert record["supported_parameters"] == ["tools", "tool_choice"]
    assert record["context_length"] == 4096
    assert record["meta"] == {"llamaswap": {"type": "model", "keep": 1}, "n_ctx": 4096}


def test_J03_selectors(open_server: Server) -> None:
    open_server.load("plain")
    open_server.unload("alpha", "cold")
    records = listed(open_server)
    pool = records["pool"]["meta"]["llamaswap"]
    assert pool == {
        "type": "selector",
        "strategy": "spillover",
        "targets": ["alpha", "plain"],
        "spillover": 1,
    }
    assert records["pool"]["status"] == {"value": "loaded"}
    assert records["first"]["status"] == {"value": "unloaded"}
    assert "spillover" not in records["first"]["meta"]["llamaswap"]
    assert records["hotter"]["name"] == "Hotter"
    assert records["hotter"]["status"] == {"value": "loaded"}
    assert "spillover" not in records["hotter"]["meta"]["llamaswap"]


def test_J04_what_runs(open_server: Server) -> None:
    assert open_server.manage("GET", "/unload").status == 200
    open_server.load("plain")
    (entry,) = open_server.manage("GET", "/running").json()["running"]
    assert set(entry) == {"model", "state", "cmd", "proxy", "ttl", "name", "description"}
    assert (entry["model"], entry["state"], entry["ttl"]) == ("plain", "ready", 600)
    port = entry["proxy"].rpartition(":")[2]
    assert f"--port {port}" in entry["cmd"]


def test_J07_the_version_is_three_texts(open_server: Server) -> None:
    version = open_server.manage("GET", "/api/version").json()
    assert set(version) == {"version", "commit", "build_date"}
    assert all(isinstance(value, str) for value in version.values())
