"""API keys. Source: http-api §4."""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode
from collections.abc import Sequence

from llamaswap.errors import LlamaswapError
from llamaswap.proxy.http1 import RequestHead

CHALLENGE = (b"WWW-Authenticate", b'Basic realm="llama-swap"')


class Unauthorized(LlamaswapError):
    """No key, or a wrong one."""

    status = 401

    def __init__(self) -> None:
        super().__init__("unauthorized: invalid or missing API key")


def check_key(head: RequestHead, keys: Sequence[str]) -> None:
    """Let the request pass or raise Unauthorized. No keys: everything is open."""
    if not keys:
        return
    offered = candidate(head.get(b"authorization"), head.get(b"x-api-key") or b"")
    # every key is compared, so that time tells nothing about which one was close
    matches = [hmac.compare_digest(offered, key.encode()) for key in keys]
    if not offered or not any(matches):
        raise Unauthorized


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
