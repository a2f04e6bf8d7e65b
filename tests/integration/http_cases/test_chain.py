"""A program in front of another one, as its peer. Source: http-api §3."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.integration.http_cases.stage import Server, running

CONFIG = """
apiKeys: [front]
peers:
  back:
    proxy: http://127.0.0.1:PORT
    apiKey: k1
    models: [plain, alpha, "alpha:hot", nobody, east/solo]
  keyless:
    proxy: http://127.0.0.1:PORT/
    models: [other]
"""
KEY = {"Authorization": "Bearer front"}


@pytest.fixture(scope="module")
def front(keyed_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    text = CONFIG.replace("PORT", str(keyed_server.port))
    with running(tmp_path_factory.mktemp("front"), text, key="front") as server:
        yield server


def test_a_request_goes_through_both_and_starts_the_model(front: Server) -> None:
    reply = front.chat('{"model":"back/plain", "x":1.0}', "?a=%2F", **KEY)
    assert reply.status == 200
    found = reply.json()
    assert (found["up"], found["path"]) == ("plain", "/v1/chat/completions?a=%2F")
    assert found["body"] == '{"model":"plain", "x":1.0}'


def test_each_program_s_key_stays_between_it_and_its_client(front: Server) -> None:
    seen = front.chat('{"model":"back/plain"}', **KEY).up_headers
    assert ("Authorization", "Bearer k1") in seen  # what the second one was asked with
    assert "front" not in json.dumps(seen)
    forwarded = [value for name, value in seen if name.lower() == "x-forwarded-for"]
    assert forwarded == ["127.0.0.1"]  # nothing of the first one's client
    refused = front.chat('{"model":"keyless/other"}', **KEY)
    assert refused.status == 401  # our key was not shown to a peer without one


def test_rewriting_adds_up(front: Server) -> None:
    reply = front.chat('{"model":"alpha:hot","temperature":1}', **KEY)
    assert json.loads(reply.json()["body"]) == {
        "model": "real-alpha",
        "extra": {"depth": 3},
        "top_p": 0.9,
        "effort": "high",
    }


def test_a_peer_of_a_peer_is_reached(front: Server) -> None:
    reply = front.chat('{"model":"back/east/solo"}', **KEY)
    assert reply.json()["up"] == "PEER"
    assert reply.json()["body"] == '{"model":"solo","zdr":true}'


def test_streams_arrive_as_they_are_made(front: Server) -> None:
    reply = front.chat('{"model":"back/plain","stream":true}', "?mode=sse", **KEY)
    assert reply.header("Content-Type") == "text/event-stream"
    assert reply.header("X-Accel-Buffering") == "no"
    assert reply.body.endswith(b"data: [DONE]\n\n")


def test_an_error_of_the_second_one_passes_untouched(front: Server) -> None:
    reply = front.chat('{"model":"back/nobody"}', **KEY)
    assert reply.status == 404
    assert "no router for requested model" in reply.json()["error"]["message"]


def test_a_cut_answer_is_cut_all_the_way(front: Server) -> None:
    reply = front.chat('{"model":"back/plain","stream":true}', "?mode=abort", **KEY)
    assert reply.status == 200
    assert b"t0" in reply.body
    assert reply.cut


def test_listings_show_the_peer_s_models(front: Server) -> None:
    records = front.request("GET", "/v1/models", KEY).json()["data"]
    ids = [record["id"] for record in records]
    assert ids == sorted(ids)
    assert "back/east/solo" in ids
    assert {record["status"]["value"] for record in records} == {"unloaded"}
    assert front.running() == {}
