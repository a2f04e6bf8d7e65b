"""Other servers that requests are forwarded to. Source: http-api §3.1, §3.2, §3.6.

A peer is reached at once: no queue, no limit, no loading state. What it learns of the client is
what the client itself says; our own keys are never among it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from llamaswap.config.schema import Peer
from llamaswap.errors import BadGateway
from llamaswap.nursery.endpoint import Endpoint
from llamaswap.proxy.auth import candidate, is_one_of
from llamaswap.proxy.dial import Unreachable, dial
from llamaswap.proxy.environment import OutgoingProxies, ProxyServer
from llamaswap.proxy.http1 import Headers

if TYPE_CHECKING:
    from llamaswap.proxy.wire import Wire

_RUNS = itertools.count(1)
_LEFT_OUT = frozenset({b"x-forwarded-for", b"forwarded", b"x-forwarded-host", b"x-forwarded-proto"})
_CREDENTIALS = frozenset({b"authorization", b"x-api-key"})


@frozen(eq=False)
class PeerLink:
    """The way to one peer. Kept over a reload that does not change the peer."""

    peer: Peer
    endpoint: Endpoint | None
    via: ProxyServer | None
    fault: str
    """Why the peer cannot be reached at all; empty: it can."""
    run: int
    """What its idle connections are shared by; negative, so that no process has it."""

    @classmethod
    def to(cls, peer: Peer, proxies: OutgoingProxies) -> PeerLink:
        """Take the peer's address apart."""
        try:
            endpoint = Endpoint.parse(peer.proxy)
        except ValueError as exc:
            return cls(peer, None, None, str(exc), -next(_RUNS))
        return cls(peer, endpoint, proxies.way_to(endpoint), "", -next(_RUNS))

    @property
    def name(self) -> str:
        """How messages about it begin."""
        return f"peer proxy error: {self.peer.id}"

    def start_line(self, method: str, path: str, query: str) -> bytes:
        """The request line. Raises BadGateway if the peer's address is none."""
        if self.endpoint is None:
            raise BadGateway(f"{self.name}: {self.fault}")
        return start_line(method, self.endpoint, path, query, self.via)

    async def connect(self) -> Wire:
        """A new connection. Raises BadGateway."""
        assert self.endpoint is not None
        try:
            return await dial(self.endpoint, self.peer.timeouts, self.via)
        except Unreachable as exc:
            raise BadGateway(f"{self.name}: {exc}") from exc

    def dress(self, headers: Headers, own_keys: Sequence[str]) -> Headers:
        """The headers for this peer, made from those for a local upstream."""
        assert self.endpoint is not None
        key = self.peer.api_key.encode()
        sent: Headers = [(b"Host", self.endpoint.authority.encode("idna"))]
        for name, value in headers:
            lower = name.lower()
            if lower == b"host" or lower in _LEFT_OUT:
                continue
            if lower in _CREDENTIALS and (key or _is_ours(lower, value, own_keys)):
                continue
            sent.append((name, value))
        if key:
            sent += [(b"Authorization", b"Bearer " + key), (b"x-api-key", key)]
        return authorized(sent, self.endpoint, self.via)


def start_line(
    method: str, endpoint: Endpoint, path: str, query: str, via: ProxyServer | None
) -> bytes:
    """A request line; a proxy that sees the request is told the whole URL."""
    target = endpoint.target(path, query)
    if via is not None and endpoint.scheme == "http":
        target = f"http://{endpoint.authority}{target}"
    return f"{method} {target} HTTP/1.1".encode("ascii")


def authorized(headers: Headers, endpoint: Endpoint, via: ProxyServer | None) -> Headers:
    """`headers` with our credentials for a proxy that sees the request."""
    if via is not None and via.authorization and endpoint.scheme == "http":
        headers.append((b"Proxy-Authorization", via.authorization))
    return headers


def _is_ours(name: bytes, value: bytes, own_keys: Sequence[str]) -> bool:
    """Whether a header holds one of our own keys."""
    if name == b"x-api-key":
        return is_one_of(value, tuple(own_keys))
    return is_one_of(candidate(value, b""), tuple(own_keys))
