"""Where an upstream listens: its `proxy` URL, taken apart once. Source: spec http-api §3.1."""

from __future__ import annotations

from urllib.parse import urlsplit

from attrs import frozen


@frozen
class Endpoint:
    """An address to connect to, with the path and query every request to it starts with."""

    scheme: str
    host: str
    port: int
    base_path: str = ""
    """Percent-encoded, without a trailing slash; empty for the root."""
    query: str = ""

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """Take a `proxy` URL apart. Raises ValueError with the reason for the user."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):
            raise ValueError(f"{url!r} is no http:// or https:// URL")
        if not parts.hostname:
            raise ValueError(f"{url!r} names no host")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return cls(parts.scheme, parts.hostname, port, parts.path.rstrip("/"), parts.query)

    def target(self, path: str, query: str = "") -> str:
        """The request target for `path` and the client's `query`, both still percent-encoded."""
        if not self.base_path and not self.query:
            return f"{path}?{query}" if query else path
        joined = f"{self.base_path}/{path.lstrip('/')}" if self.base_path else path
        both = "&".join(part for part in (self.query, query) if part)
        return f"{joined}?{both}" if both else joined

    @property
    def authority(self) -> str:
        """`host[:port]` as a `Host` header names it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme == "https" else 80
        return host if self.port == default else f"{host}:{self.port}"
