"""The table of routes. Source: http-api §1.1, §1.2."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.api_reference import api_reference
from llamaswap.proxy.routes import ROUTES, Route, Rule, allowed, choose, match_path


def example(route: Route) -> str:
    return route.path.replace("…", "some/tail")


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.methods[0]} {route.path}")
def test_every_row_is_found_by_its_path_and_methods(route: Route) -> None:
    match = match_path(example(route).encode())
    for method in route.methods:
        assert choose(match.routes, method) is route
    assert choose(match.routes, "TRACE") is None


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.methods[0]} {route.path}")
def test_percent_encoding_a_letter_changes_nothing(route: Route) -> None:
    path = example(route)
    if len(path) < 2:
        return
    encoded = f"/%{ord(path[1]):02x}{path[2:]}".encode()
    if path.startswith(("/upstream", "/comfyui")):
        encoded = f"{path[:-1]}%{ord(path[-1]):02X}".encode()
    assert route in match_path(encoded).routes


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        (b"//", "/"),
        (b"/a//b", "/a/b"),
        (b"/./a", "/a"),
        (b"/a/../b", "/b"),
        (b"/a/..", "/"),
        (b"/../..", "/"),
        (b"/a/.", "/a/"),
        (b"/a//", "/a/"),
        (b"/a/%2e%2e/b", None),
        (b"/.well-known/x", None),
        (b"/upstream/m//x/../y", None),
        (b"/comfyui//x", None),
    ],
)
def test_paths_are_cleaned_by_redirect_except_below_a_model(path: bytes, clean: str | None) -> None:
    assert match_path(path).redirect == clean


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/audio/voices", "GET, HEAD, POST"),
        ("/health", "GET, HEAD"),
        ("/unload", "GET"),
        ("/v1/chat/completions", "POST"),
        ("/api/profiles/active", "PUT"),
    ],
)
def test_allow_lists_what_is_answered(path: str, methods: str) -> None:
    assert allowed(match_path(path.encode()).routes) == methods


@pytest.mark.parametrize("path", [b"/v1%2Fmodels", b"/HEALTH", b"/health/", b"/v1/models/x"])
def test_what_is_no_route(path: bytes) -> None:
    assert match_path(path).routes == ()


def test_an_encoded_slash_separates_only_in_tails() -> None:
    assert match_path(b"/upstream/a%2Fb/c").routes[0].rule is Rule.UPSTREAM
    assert match_path(b"/api/models/unload/a%2Fb").routes[0].path == "/api/models/unload/…"


def test_every_inference_route_that_is_posted_writes_a_row() -> None:
    for route in ROUTES:
        assert route.row is (route.rule is Rule.BODY)


def test_every_line_says_what_it_is_for() -> None:
    assert all(route.about for route in ROUTES)


def test_only_what_changes_something_is_closed_to_foreign_pages() -> None:
    changing = {(route.methods[0], route.path) for route in ROUTES if route.changes}
    assert changing == {
        ("GET", "/unload"),
        ("POST", "/api/models/unload"),
        ("POST", "/api/models/unload/…"),
        ("PUT", "/api/profiles/active"),
        ("POST", "/api/inflight/…"),
    }


def test_the_documentation_is_what_the_table_says() -> None:
    written = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")
    assert written == api_reference(), "run: make docs"


@pytest.mark.parametrize(("method", "passes"), [("PROPFIND", True), ("TRACE", False)])
def test_below_a_model_every_method_passes_that_is_not_about_the_way(
    method: str, passes: bool
) -> None:
    for path in (b"/upstream/m/x", b"/comfyui/x"):
        assert (choose(match_path(path).routes, method) is not None) is passes
    assert choose(match_path(b"/health").routes, method) is None
