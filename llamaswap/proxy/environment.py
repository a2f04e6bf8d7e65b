"""Which proxy of the environment a connection goes through. Source: http-api §3.1.

`HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, in capitals or not, as curl and most programs read them.
Loopback is never proxied.
"""

from __future__ import annotations

import ipaddress
from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from attrs import field, frozen

from llamaswap.nursery.endpoint import Endpoint


@frozen
class ProxyServer:
    """A proxy to connect through."""

    host: str
    port: int
    authorization: bytes = field(default=b"", repr=False)
    """Value of `Proxy-Authorization`; empty: the URL names no user."""
    fault: str = ""
    """Why it cannot be used; empty: it can."""

    @property
    def authority(self) -> str:
        """Where it is, for messages."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, url: str) -> ProxyServer:
        """Take the URL of an environment variable apart; `http://` may be left out."""
        parts = urlsplit(url if "://" in url else f"http://{url}")
        shown = f"{parts.scheme}://{parts.hostname}"
        try:
            port = parts.port or 80
        except ValueError:
            return cls("", 0, fault=f"the proxy {shown} of the environment has a bad port")
        if parts.scheme != "http" or not parts.hostname:
            return cls("", 0, fault=f"the proxy {shown} of the environment is no http:// proxy")
        authorization = b""
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = b"Basic " + b64encode(pair.encode())
        return cls(parts.hostname, port, authorization)


@frozen
class OutgoingProxies:
    """What the environment says, taken apart once."""

    http: ProxyServer | None = None
    https: ProxyServer | None = None
    excluded: tuple[str, ...] = ()
    """Entries of `NO_PROXY`."""

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> OutgoingProxies:
        """Read the variables; the spelling in small letters wins."""

        def value(name: str) -> str:
            return (environ.get(name.lower()) or environ.get(name) or "").strip()

        http, https = value("HTTP_PROXY"), value("HTTPS_PROXY")
        entries = (entry.strip().lower() for entry in value("NO_PROXY").split(","))
        return cls(
            ProxyServer.parse(http) if http else None,
            ProxyServer.parse(https) if https else None,
            tuple(entry for entry in entries if entry),
        )

    def __bool__(self) -> bool:
        return self.http is not None or self.https is not None

    def way_to(self, endpoint: Endpoint) -> ProxyServer | None:
        """The proxy for `endpoint`; None: connect directly."""
        server = self.https if endpoint.scheme == "https" else self.http
        if server is None or is_loopback(endpoint.host):
            return None
        host = endpoint.host.lower().rstrip(".")
        if any(_covers(entry, host, endpoint.port) for entry in self.excluded):
            return None
        return server


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine by its name or address."""
    address = _address(host)
    return address.is_loopback if address is not None else host.lower().rstrip(".") == "localhost"


def _covers(entry: str, host: str, port: int) -> bool:
    """Whether an entry of `NO_PROXY` means that host: `*`, a domain, an address, a network."""
    if entry == "*":
        return True
    name, colon, number = entry.rpartition(":")
    if colon and number.isdigit() and (":" not in name or name.endswith("]")):
        if int(number) != port:
            return False
        entry = name
    entry = entry.strip("[]")
    address = _address(host)
    if address is not None:
        try:
            return address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    bare = entry.removeprefix("*").lstrip(".")
    if entry.startswith((".", "*.")):
        return host.endswith(f".{bare}")
    return host == bare or host.endswith(f".{bare}")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
