"""Keys and foreign pages. Source: http-api §4, decision 11."""

from __future__ import annotations

import pytest

from llamaswap.proxy.auth import CrossSite, Unauthorized, check_key, check_site, is_one_of
from llamaswap.proxy.http1 import RequestHead, parse_request_head

KEYS = ("k1", "k2", "ключ")


def head(*lines: str) -> RequestHead:
    text = "\r\n".join(["GET / HTTP/1.1", "Host: h", *lines]) + "\r\n\r\n"
    return parse_request_head(text.encode())


def passes(*lines: str) -> bool:
    try:
        check_key(head(*lines), KEYS)
    except Unauthorized:
        return False
    return True


@pytest.mark.parametrize(
    "line",
    [
        "Authorization: Bearer k1",
        "authorization: BEARER k2",
        "Authorization: Bearer ключ",
        "X-API-Key: k1",
        "Authorization: Basic dTprMQ==",  # u:k1
        "Authorization: basic Omsy",  # :k2
    ],
)
def test_what_opens(line: str) -> None:
    assert passes(line)


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["Authorization: Bearer"],
        ["Authorization: Bearer  k1"],
        ["Authorization: Bearer k1x"],
        ["Authorization: Bearer k"],
        ["Authorization: Token k1"],
        ["Authorization: k1"],
        ["Authorization: Basic k1"],
        ["Authorization: Basic azE="],  # k1, no colon
        ["Authorization: Basic azE6"],  # k1: and no password
        ["x-api-key:"],
        ["Authorization: Bearer bad", "x-api-key: k1"],
        ["Authorization: Digest a", "Authorization: Bearer k1"],
        ["Cookie: key=k1"],
    ],
)
def test_what_does_not(lines: list[str]) -> None:
    assert not passes(*lines)


@pytest.mark.parametrize("line", ["Digest z", "Basic %%%", "Basic azE=", "Basic azE6", "Bearer"])
def test_what_is_no_credential_leaves_the_word_to_x_api_key(line: str) -> None:
    assert passes(f"Authorization: {line}", "x-api-key: k1")


def test_without_keys_everything_is_open() -> None:
    check_key(head(), ())


def test_every_key_is_compared_whichever_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    import hmac

    seen: list[int] = []
    real = hmac.compare_digest

    def counting(a: bytes, b: bytes) -> bool:
        seen.append(len(a))
        assert len(a) == len(b)
        return real(a, b)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    for offered in (b"k1", b"nothing", b"a much longer candidate than any key"):
        seen.clear()
        is_one_of(offered, KEYS)
        assert seen == [32] * len(KEYS)


def test_only_what_another_site_sends_is_refused() -> None:
    with pytest.raises(CrossSite) as caught:
        check_site(head("Sec-Fetch-Site: cross-site"))
    assert caught.value.status == 403
    for value in ("same-origin", "same-site", "none"):
        check_site(head(f"Sec-Fetch-Site: {value}"))
    check_site(head())
