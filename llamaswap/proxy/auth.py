"""API keys, and requests that a foreign web page sends. Source: http-api §4, decision 11."""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode
from functools import lru_cache
from hashlib import sha256

from llamaswap.errors import LlamaswapError
from llamaswap.proxy.http1 import RequestHead

CHALLENGE = (b"WWW-Authenticate", b'Basic realm="llama-swap"')


class Unauthorized(LlamaswapError):
    """No key, or a wrong one."""

    status = 401

    def __init__(self) -> None:
        super().__init__("unauthorized: invalid or missing API key")


class CrossSite(LlamaswapError):
    """A page of another site wanted to change something here."""

    status = 403


def check_key(head: RequestHead, keys: tuple[str, ...]) -> None:
    """Let the request pass or raise Unauthorized. No keys: everything is open."""
    if not keys:
        return
    offered = candidate(head.get(b"authorization"), head.get(b"x-api-key") or b"")
    if not offered or not is_one_of(offered, keys):
        raise Unauthorized


def check_site(head: RequestHead) -> None:
    """Refuse what a browser sends on behalf of another site. Raises CrossSite.

    A browser adds the keys it remembers to such a request too, so keys do not help against it.
    """
    if head.get(b"sec-fetch-site") == b"cross-site":
        raise CrossSite("forbidden: pages of another site may not change anything here")


def is_one_of(offered: bytes, keys: tuple[str, ...]) -> bool:
    """Whether a credential is one of the keys.

    Digests are compared, and every one of them: time tells nothing about which key was close, nor
    how long the keys are.
    """
    digest = sha256(offered).digest()
    found = 0
    for known in _digests(keys):
        found |= hmac.compare_digest(digest, known)
    return bool(found)


@lru_cache(maxsize=4)
def _digests(keys: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(sha256(key.encode()).digest() for key in keys)


def candidate(authorization: bytes | None, api_key: bytes) -> bytes:
    """The one credential that counts: Basic password, then Bearer token, then x-api-key."""
    if authorization is not None:
        scheme, _, credential = authorization.partition(b" ")
        match scheme.lower():
            case b"basic":
                try:
                    _, colon, password = b64decode(credential, validate=True).partition(b":")
                except (binascii.Error, ValueError):
                    return api_key
                if colon and password:
                    return password
            case b"bearer" if credential:
                return credential
    return api_key
