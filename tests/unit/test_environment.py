"""Proxies of the environment. Source: http-api §3.1."""

from __future__ import annotations

import pytest

from llamaswap.nursery.endpoint import Endpoint
from llamaswap.proxy.environment import OutgoingProxies, ProxyServer

BOTH = {"HTTP_PROXY": "http://plain:1", "HTTPS_PROXY": "http://secure:2"}


def way(url: str, **environ: str) -> str | None:
    found = OutgoingProxies.of(environ).way_to(Endpoint.parse(url))
    return None if found is None else found.authority


def test_without_the_variables_nothing_is_proxied() -> None:
    assert not OutgoingProxies.of({})
    assert not OutgoingProxies.of({"HTTP_PROXY": " ", "NO_PROXY": "a"})
    assert way("http://far.test") is None


def test_each_scheme_has_its_own() -> None:
    assert way("http://far.test", **BOTH) == "plain:1"
    assert way("https://far.test", **BOTH) == "secure:2"
    assert way("https://far.test", HTTP_PROXY="http://plain:1") is None


def test_small_letters_win() -> None:
    assert way("http://far.test", HTTP_PROXY="http://a:1", http_proxy="http://b:2") == "b:2"


@pytest.mark.parametrize(
    "url", ["http://localhost:5", "http://127.0.0.1", "http://127.9.9.9", "http://[::1]:5"]
)
def test_loopback_is_never_proxied(url: str) -> None:
    assert way(url, **BOTH) is None


@pytest.mark.parametrize(
    ("entry", "url", "excluded"),
    [
        ("*", "http://far.test", True),
        ("far.test", "http://far.test", True),
        ("far.test", "http://FAR.test", True),
        ("far.test", "http://a.far.test", True),
        ("far.test", "http://notfar.test", False),
        (".far.test", "http://far.test", False),
        (".far.test", "http://a.far.test", True),
        ("*.far.test", "http://a.far.test", True),
        ("far.test:80", "http://far.test", True),
        ("far.test:81", "http://far.test", False),
        ("10.0.0.0/8", "http://10.1.2.3", True),
        ("10.0.0.0/8", "http://11.1.2.3", False),
        ("10.1.2.3", "http://10.1.2.3:99", True),
        ("[fd00::1]:80", "http://[fd00::1]", True),
        ("fd00::/8", "http://[fd00::1]", True),
        ("a, far.test ,b", "http://far.test", True),
        ("10.0.0.0/8", "http://far.test", False),
    ],
)
def test_who_is_excluded(entry: str, url: str, excluded: bool) -> None:
    assert (way(url, **BOTH, NO_PROXY=entry) is None) is excluded


def test_a_user_in_the_url_becomes_a_header_and_is_not_shown() -> None:
    server = ProxyServer.parse("http://me:p%40ss@proxy:3128")
    assert server.authorization == b"Basic bWU6cEBzcw=="
    assert "bWU6" not in repr(server)
    assert ProxyServer.parse("proxy:3128").authority == "proxy:3128"


@pytest.mark.parametrize("url", ["socks5://proxy:1", "https://proxy", "http://proxy:many"])
def test_a_proxy_that_cannot_be_used_says_so_instead_of_being_ignored(url: str) -> None:
    assert "of the environment" in ProxyServer.parse(url).fault
