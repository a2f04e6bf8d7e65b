"""Headers as operators see them: one value each, secrets hidden. Source: http-api §7.3, §7.6."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

REDACTED = "[REDACTED]"
_HIDDEN = REDACTED.encode()
SECRET = frozenset(
    {
        b"authorization",
        b"proxy-authorization",
        b"cookie",
        b"set-cookie",
        b"x-api-key",
        b"api-key",
        b"x-goog-api-key",
    }
)
HOST = b"host"
LEFT_OUT = frozenset({HOST})


def shown_headers(
    pairs: Iterable[tuple[bytes, bytes]], left_out: frozenset[bytes] = LEFT_OUT
) -> dict[str, str]:
    """The first value of each name, names in `Title-Case`; `left_out`: lower-case names."""
    shown: dict[str, str] = {}
    for name, value in pairs:
        key, title, secret = _known(name)
        if key not in left_out and title not in shown:
            shown[title] = REDACTED if secret else value.decode("utf-8", "replace")
    return shown


def without_secrets(pairs: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """What may be kept, to be shown later."""
    return [(name, _HIDDEN if name.lower() in SECRET else value) for name, value in pairs]


@lru_cache(maxsize=512)
def _known(name: bytes) -> tuple[bytes, str, bool]:
    """A header's lower-case name, its `Title-Case`, and whether its value is a secret."""
    key = name.lower()
    title = "-".join(part.capitalize() for part in key.decode("latin-1").split("-"))
    return key, title, key in SECRET
