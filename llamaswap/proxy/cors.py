"""The answer to every OPTIONS request, so that pages of any origin may ask models.

Source: http-api §1.3.
"""

from __future__ import annotations

from llamaswap.proxy.http1 import Headers, RequestHead, is_token

USUAL = b"Content-Type, Authorization, Accept, X-Requested-With"
"""What may be sent if the request does not say what it wants to send."""


def preflight_headers(head: RequestHead) -> Headers:
    """What a browser asks for before the request itself; names that are no header names go."""
    wished = head.get(b"access-control-request-headers")
    if wished is None:
        names = USUAL
    else:
        parts = (part.strip() for part in wished.split(b","))
        names = b", ".join(part for part in parts if is_token(part))
    return [
        (b"Access-Control-Allow-Origin", b"*"),
        (b"Access-Control-Allow-Methods", b"GET, POST, PUT, PATCH, DELETE, OPTIONS"),
        (b"Access-Control-Allow-Headers", names),
        (b"Access-Control-Max-Age", b"86400"),
    ]
