"""HTTP/1.1 on the wire, without sockets: heads in, heads out, where a message ends.

httptools (llhttp) parses heads and response boundaries. Bodies of responses travel as received; the
parser only watches them to know the end. What is ambiguous is refused: two ways to read a message
are how requests are smuggled. Source: RFC 9112, http-api §1.1, conventions §7.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import httptools
from attrs import define, field

from llamaswap.errors import LlamaswapError

Headers: TypeAlias = list[tuple[bytes, bytes]]
Fields: TypeAlias = list[tuple[bytes, bytes, bytes]]
"""Lower-case name, name as received, value: looked up by the first, sent by the others."""

MAX_HEAD = 1024 * 1024
LINE_END = b"\r\n"
HEAD_END = LINE_END * 2
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"proxy-connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_REQUEST_LINE = re.compile(rb"([A-Z-]+) ([\x21-\x7e]+) HTTP/([0-9]\.[0-9])\r\n")
_DIGITS = re.compile(rb"[0-9]{1,18}")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TEXT = bytes({*range(0x20, 0x100), 0x09} - {0x7F})
"""What may stand in a head beside its line ends."""


class ProtocolViolation(LlamaswapError):
    """The client broke HTTP; it gets `status` and the connection is closed."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status  # type: ignore[misc]  # one class for 400, 431 and 505


class UpstreamViolation(Exception):
    """The upstream broke HTTP, or closed in the middle of a message."""


@define
class RequestHead:
    """A request line and its headers, checked."""

    method: str
    target: bytes
    """Path and query, percent-encoded as received; always begins with `/`, or is `*`."""
    version: str
    fields: Fields
    index: dict[bytes, bytes]
    """The first value of each name, by lower-case name."""
    length: int | None
    """Bytes of body that follow; None: chunked."""
    keep_alive: bool
    expects_continue: bool
    upgrade: bytes | None
    """What the client wants to switch to; None: nothing."""
    connection_names: frozenset[bytes]
    """Headers that `Connection` names, in lower case: they end here."""
    made: dict[Hashable, Any] = field(factory=dict, init=False, eq=False, repr=False)
    """What others made of it before, by whatever tells it apart. Shared by heads that differ in
    the length of the body alone; nothing in it depends on that."""

    def get(self, name: bytes) -> bytes | None:
        """The first header of that lower-case name."""
        return self.index.get(name)

    def alike(self, fields: Fields, index: dict[bytes, bytes], length: int) -> RequestHead:
        """The same head for a body of another length."""
        head = RequestHead(
            self.method,
            self.target,
            self.version,
            fields,
            index,
            length,
            self.keep_alive,
            self.expects_continue,
            self.upgrade,
            self.connection_names,
        )
        head.made = self.made
        return head


class _HeadCollector:
    """Receives httptools' callbacks; notes and decides nothing."""

    __slots__ = ("headers",)

    def __init__(self) -> None:
        self.headers: Headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))


def find_head(buffer: bytes | bytearray, start: int = 0) -> int:
    """Where the head that begins at 0 ends, its blank line included; 0: not yet.

    `start`: how much was searched before. Raises ProtocolViolation(431) beyond `MAX_HEAD`.
    """
    end = buffer.find(HEAD_END, max(0, start - 3))
    if end < 0:
        if len(buffer) > MAX_HEAD:
            raise ProtocolViolation("request head is larger than 1 MiB", 431)
        return 0
    if end > MAX_HEAD:
        raise ProtocolViolation("request head is larger than 1 MiB", 431)
    return end + 4


def parse_request_head(head: bytes) -> RequestHead:
    """Parse one whole head. Raises ProtocolViolation for whatever could be read in two ways."""
    controls = head.translate(None, _TEXT)
    if controls != LINE_END * (len(controls) // 2):
        if controls.translate(None, LINE_END):
            raise ProtocolViolation("control character in the request head")
        raise ProtocolViolation("bare CR or LF in the request head")
    if b"\r\n " in head or b"\r\n\t" in head:
        raise ProtocolViolation("folded header line")
    line = _REQUEST_LINE.match(head)
    if line is None:
        raise ProtocolViolation("malformed request line")
    method, target, version = line[1].decode("ascii"), line[2], line[3].decode("ascii")
    if version not in ("1.1", "1.0"):
        raise ProtocolViolation(f"HTTP/{version} is not supported", 505)
    collector = _HeadCollector()
    parser = httptools.HttpRequestParser(collector)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as exc:
        raise ProtocolViolation(f"malformed request: {exc}") from exc
    return _check_request(method, target, version, collector.headers)


def _check_request(method: str, target: bytes, version: str, headers: Headers) -> RequestHead:
    """Take the framing and connection headers apart, strictly."""
    fields: Fields = []
    index: dict[bytes, bytes] = {}
    framing: Headers = []
    connection: list[bytes] = []
    upgrade: bytes | None = None
    for name, value in headers:
        key = name.lower()
        fields.append((key, name, value))
        if key in _FRAMING:
            framing.append((key, value))
        elif key == b"connection":
            connection += [part.strip().lower() for part in value.split(b",")]
        elif key == b"upgrade":
            upgrade = value if upgrade is None else upgrade + b", " + value
        index.setdefault(key, value)
    length = _body_length(framing, version)
    keep_alive = b"close" not in connection
    if version == "1.0":
        keep_alive = b"keep-alive" in connection
    return RequestHead(
        method,
        _origin_form(method, target),
        version,
        fields,
        index,
        length,
        keep_alive,
        version == "1.1" and index.get(b"expect", b"").strip().lower() == b"100-continue",
        upgrade if b"upgrade" in connection else None,
        frozenset(connection) if connection else _NONE,
    )


_FRAMING = frozenset({b"host", b"content-length", b"transfer-encoding"})
_NONE: frozenset[bytes] = frozenset()


def _body_length(framing: Headers, version: str) -> int | None:
    """Bytes of body; None: chunked. Raises ProtocolViolation for two ways to read it."""
    length: int | None = 0
    lengths = hosts = 0
    encoding: bytes | None = None
    for key, value in framing:
        if key == b"host":
            hosts += 1
        elif key == b"content-length":
            lengths += 1
            if not _DIGITS.fullmatch(value):
                raise ProtocolViolation("bad Content-Length")
            length = int(value)
        elif encoding is not None:
            raise ProtocolViolation("repeated Transfer-Encoding")
        else:
            encoding = value.strip().lower()
    if lengths > 1:
        raise ProtocolViolation("repeated Content-Length")
    if encoding is not None:
        if lengths:
            raise ProtocolViolation("both Content-Length and Transfer-Encoding")
        if encoding != b"chunked" or version == "1.0":
            raise ProtocolViolation("unsupported Transfer-Encoding")
        length = None
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        raise ProtocolViolation("exactly one Host header is needed")
    return length


def _origin_form(method: str, target: bytes) -> bytes:
    """Path and query of any allowed request target; `*` only for OPTIONS."""
    if target.startswith(b"/"):
        return target.partition(b"#")[0]
    if target == b"*" and method == "OPTIONS":
        return target
    if target[:7].lower() == b"http://" or target[:8].lower() == b"https://":
        try:
            parts = urlsplit(target.decode("ascii"))
        except ValueError as exc:
            raise ProtocolViolation("bad request target") from exc
        path = parts.path or "/"
        return (f"{path}?{parts.query}" if parts.query else path).encode("ascii")
    raise ProtocolViolation("bad request target")


@define
class ResponseHead:
    """A status line and its headers."""

    status: int
    reason: bytes
    version: str
    headers: Headers
    length: int | None
    """Announced bytes of body; None: chunked or until close."""
    chunked: bool
    keep_alive: bool
    connection_names: frozenset[bytes]
    made: dict[Hashable, Any] = field(factory=dict, init=False, eq=False, repr=False)
    """As `RequestHead.made`."""

    def get(self, name: bytes) -> bytes:
        """The first header of that lower-case name; empty: there is none."""
        return next((value for key, value in self.headers if key.lower() == name), b"")

    def alike(self, headers: Headers, length: int) -> ResponseHead:
        """The same head for a body of another length."""
        head = ResponseHead(
            self.status,
            self.reason,
            self.version,
            headers,
            length,
            self.chunked,
            self.keep_alive,
            self.connection_names,
        )
        head.made = self.made
        return head


class _ResponseCollector:
    __slots__ = ("headers", "reason")

    def __init__(self) -> None:
        self.reason = b""
        self.headers: Headers = []

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))


def parse_response_head(head: bytes) -> ResponseHead:
    """Parse one whole response head. Raises UpstreamViolation."""
    collector = _ResponseCollector()
    parser = httptools.HttpResponseParser(collector)
    try:
        parser.feed_data(head)
        version = parser.get_http_version()
        status = parser.get_status_code()
    except httptools.HttpParserUpgrade:
        version, status = "1.1", 101
    except httptools.HttpParserError as exc:
        raise UpstreamViolation(f"malformed response head: {exc}") from exc
    length: int | None = None
    chunked = False
    connection: list[bytes] = []
    for name, value in collector.headers:
        key = name.lower()
        if key == b"content-length":
            if not _DIGITS.fullmatch(value) or (length is not None and length != int(value)):
                raise UpstreamViolation("bad Content-Length")
            length = int(value)
        elif key == b"transfer-encoding":
            if chunked or value.strip().lower() != b"chunked":
                raise UpstreamViolation("unsupported Transfer-Encoding")
            chunked = True
        elif key == b"connection":
            connection += [part.strip().lower() for part in value.split(b",")]
    if chunked:
        length = None
    keep_alive = b"close" not in connection
    if version == "1.0":
        keep_alive = b"keep-alive" in connection
    return ResponseHead(
        status,
        collector.reason,
        version,
        collector.headers,
        length,
        chunked,
        keep_alive,
        frozenset(connection),
    )


REASONS = {
    200: b"OK",
    204: b"No Content",
    301: b"Moved Permanently",
    302: b"Found",
    307: b"Temporary Redirect",
    308: b"Permanent Redirect",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    409: b"Conflict",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    499: b"Client Closed Request",
    500: b"Internal Server Error",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
}


def render_head(start: bytes, headers: Headers) -> bytes:
    """A start line and headers as bytes. Header names and values are trusted to be clean."""
    parts = [start]
    for name, value in headers:
        parts += (b"\r\n", name, b": ", value)
    parts.append(HEAD_END)
    return b"".join(parts)


def status_line(status: int, reason: bytes = b"") -> bytes:
    """`HTTP/1.1 200 OK`."""
    return b"HTTP/1.1 %d %s" % (status, reason or REASONS.get(status, b""))


def is_token(name: bytes) -> bool:
    """Whether `name` may be a header name."""
    return _TOKEN.fullmatch(name) is not None
