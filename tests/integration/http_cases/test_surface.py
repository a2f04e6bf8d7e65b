"""What holds for all routes: methods, errors, foreign pages, CORS. Source: http-api §1, §4."""

from __future__ import annotations

import pytest

from llamaswap.proxy.routes import MANAGEMENT, Route
from tests.integration.http_cases.stage import Server, answers

CHAT = "/v1/chat/completions"
ENDLESS = ("/api/events", "/logs/stream", "/logs/stream/…")
FROM_ELSEWHERE = {"Sec-Fetch-Site": "cross-site", "x-api-key": "k1"}


@pytest.mark.parametrize(
    "path",
    [
        route.path.replace("…", "proxy" if "logs" in route.path else "1")
        for route in MANAGEMENT
        if "HEAD" in route.allow
    ],
)
def test_head_answers_as_get_without_a_body(open_server: Server, path: str) -> None:
    head = open_server.request("HEAD", path)
    assert head.body == b""
    if path.startswith(("/api/events", "/logs/stream")):
        assert head.status == 200  # and it has ended, though a GET would not
        return
    get = open_server.request("GET", path)
    assert head.status == get.status
    assert head.header("Content-Type") == get.header("Content-Type")


def test_a_connection_goes_on_after_head(open_server: Server) -> None:
    connection = open_server.connect()
    connection.send("HEAD", "/v1/models")
    connection.send("GET", "/health")
    assert connection.reply("HEAD").status == 200
    connection.close()
    connection = open_server.connect()
    for path in ("/logs/stream", "/running"):
        connection.send("HEAD", path)
        assert connection.reply("HEAD").status == 200
    connection.send("GET", "/health")
    assert connection.reply().body == b"OK"
    connection.close()


@pytest.mark.parametrize(
    ("accept", "kind", "begins"),
    [
        (None, "application/json", b'{"src"'),
        ("*/*", "application/json", b'{"src"'),
        ("text/event-stream", "application/json", b'{"src"'),
        ("text/plain;q=0.1, application/json", "text/plain", b"llama-swap: no router for"),
        ("text/html,application/xhtml+xml", "text/html", b"<html><body><h1>llama-swap</h1><p>no"),
        ("text/html, text/plain", "text/plain", b"llama-swap: "),
    ],
)
def test_errors_come_as_the_client_reads_them(
    open_server: Server, accept: str | None, kind: str, begins: bytes
) -> None:
    headers = {"Content-Type": "application/json", **({"Accept": accept} if accept else {})}
    reply = open_server.request("POST", CHAT, headers, b'{"model":"<zzz>"}')
    assert (reply.status, reply.header("Content-Type")) == (404, kind)
    assert reply.body.startswith(begins)
    if kind == "text/html":
        assert b"&lt;zzz&gt;" in reply.body
        assert b"<zzz>" not in reply.body


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nope", 404, "not_found"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("POST", "/api/inflight/1/nothing", 404, "not_found"),
        ("GET", "/api/captures/1/2", 404, "not_found"),
        ("POST", "/api/models/unload/nobody", 404, "not_found"),
    ],
)
def test_errors_of_both_planes_have_one_shape(
    open_server: Server, method: str, path: str, status: int, code: str
) -> None:
    reply = open_server.request(method, path)
    assert reply.status == status
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["type"], error["param"]) == (code, "invalid_request_error", None)
    assert reply.json()["src"] == "llama-swap"


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens", "/v/messages"])
def test_anthropic_clients_find_their_error(open_server: Server, path: str) -> None:
    reply = open_server.request("POST", path, {"Content-Type": "application/json"}, b"{}")
    assert reply.status == 404
    assert reply.json()["type"] == "error"
    assert reply.json()["error"]["type"] == "invalid_request_error"
    other = open_server.request("POST", CHAT, {"Content-Type": "application/json"}, b"{}")
    assert "type" not in other.json()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/unload"),
        ("POST", "/api/models/unload"),
        ("POST", "/api/models/unload/plain"),
        ("PUT", "/api/profiles/active"),
        ("POST", "/api/inflight/1/cancel"),
    ],
)
def test_a_page_of_another_site_changes_nothing(
    keyed_server: Server, method: str, path: str
) -> None:
    keyed_server.load("plain")
    body = b'{"name":"night"}' if method == "PUT" else b""
    reply = keyed_server.request(method, path, FROM_ELSEWHERE, body)
    assert reply.status == 403
    assert reply.json()["error"]["code"] == "forbidden"
    assert "plain" in keyed_server.running()
    assert keyed_server.manage("GET", "/api/profiles").json()["active"] is None
    assert keyed_server.request(method, path, {"Sec-Fetch-Site": "cross-site"}).status == 401


def test_a_page_of_another_site_may_ask_models(keyed_server: Server) -> None:
    body = b'{"model":"plain"}'
    headers = {**FROM_ELSEWHERE, "Content-Type": "application/json"}
    assert keyed_server.request("POST", CHAT, headers, body).status == 200
    assert keyed_server.request("GET", "/running", FROM_ELSEWHERE).status == 200


def test_options_is_answered_here_and_starts_nothing(open_server: Server) -> None:
    open_server.unload("cold")
    for path in ("/upstream/cold/x", "/comfyui/", "/v1/chat/completions", "/a//b", "/nope%2F"):
        reply = open_server.request("OPTIONS", path, {"Access-Control-Request-Headers": ""})
        assert (reply.status, reply.body) == (204, b"")
        assert reply.header("Access-Control-Allow-Headers") == ""
        assert reply.header("Access-Control-Allow-Origin") == "*"
    assert "cold" not in open_server.running()


def test_our_answers_name_no_server_and_one_date_at_most(open_server: Server) -> None:
    for path in ("/health", "/running", "/nope", "/v1/models", "/upstream/plain/x"):
        reply = open_server.request("GET", path)
        servers = reply.all_headers("Server")
        assert len(reply.all_headers("Date")) <= 1
        assert servers == [] if not path.startswith("/upstream") else len(servers) == 1


def test_models_echo_no_origin_where_none_is(open_server: Server) -> None:
    reply = open_server.request("GET", "/v1/models")
    assert reply.header("Access-Control-Allow-Origin") is None
    reply = open_server.request("GET", "/running", {"Origin": "http://x"})
    assert reply.header("Access-Control-Allow-Origin") is None


def test_json_that_comes_as_a_form_as_curl_sends_it_is_read(open_server: Server) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    reply = open_server.request("POST", CHAT, headers, b' {"model":"whisper"}')
    assert reply.json()["body"] == ' {"model":"whisper-large"}'


@pytest.mark.parametrize("kind", ["application/vnd.x+json", "text/json; a=application/json"])
def test_other_names_of_json(open_server: Server, kind: str) -> None:
    reply = open_server.request("POST", CHAT, {"Content-Type": kind}, b'{"model":"plain"}')
    assert reply.status == 200


def test_an_absolute_target_is_its_path(open_server: Server) -> None:
    reply = open_server.request("GET", "http://somewhere.test/upstream/plain/x%2Fy?q#f")
    assert reply.json()["path"] == "/x%2Fy?q"


def test_other_methods_reach_a_model_below_upstream(open_server: Server) -> None:
    reply = open_server.request("PATCH", "/upstream/plain/x", {}, b"b")
    assert (reply.json()["method"], reply.json()["body"]) == ("PATCH", "b")
    assert open_server.request("TRACE", "/upstream/plain/x").status == 405


@pytest.mark.parametrize("route", MANAGEMENT, ids=lambda route: route.path)
def test_every_management_route_has_somebody_behind_it(open_server: Server, route: Route) -> None:
    path = route.path.replace("/inflight/…", "/inflight/0/cancel").replace("…", "1")
    method, body = route.methods[0], b'{"name":null}'
    assert answers(open_server, path, method)
    reply = open_server.request("HEAD" if route.path in ENDLESS else method, path, {}, body)
    assert reply.status not in (405, 500, 502)
