"""The wire, cut at every byte, and against h11. Source: RFC 9112, conventions of the data plane."""

from __future__ import annotations

import h11
import httptools
import pytest
import trio
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from llamaswap.chunk_decoder import ChunkDecoder
from llamaswap.config.schema import Timeouts
from llamaswap.proxy.carriage import Carriage, _NothingCame
from llamaswap.proxy.chunked import ChunkedBody, ChunkWatch
from llamaswap.proxy.framing import Chunked, Framing, Sized, Unchunked
from llamaswap.proxy.http1 import (
    ProtocolViolation,
    RequestHead,
    ResponseHead,
    UpstreamViolation,
    find_head,
    parse_request_head,
    parse_response_head,
)
from llamaswap.proxy.pump import Pump
from llamaswap.proxy.relay import Relay
from llamaswap.proxy.server import _read_body, _read_head
from llamaswap.proxy.site import Site
from llamaswap.proxy.wire import Wire

REQUESTS: dict[str, tuple[bytes, bytes]] = {
    "no body": (b"GET /a?b=%2F HTTP/1.1\r\nHost: h\r\n\r\n", b""),
    "sized": (
        b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\nhello\r\n\r\nyo",
        b"hello\r\n\r\nyo",
    ),
    "length zero": (b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", b""),
    "chunked": (
        b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n"
        b"5\r\nhello\r\n00a ; a=b\r\n0123456789\r\n0\r\n\r\n",
        b"hello0123456789",
    ),
    "chunked with trailers": (
        b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"1\r\n\n\r\n0;x\r\nA: b\r\nC: d\r\n\r\n",
        b"\n",
    ),
    "empty chunked": (
        b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"",
    ),
    "HTTP/1.0": (b"POST /x HTTP/1.0\r\nContent-Length: 2\r\n\r\nok", b"ok"),
}


@define(eq=False)
class PieceWire:
    """A wire that gives prepared pieces, and takes what is sent."""

    pieces: list[bytes]
    sent: bytes = b""
    closed: bool = False
    written: int = 0
    idle: set[Wire] = field(factory=set)

    async def recv(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.pieces.pop(0) if self.pieces else b""

    async def recv_later(self) -> bytes:
        return await self.recv()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        self.sent += data

    def close(self) -> None:
        self.closed = True

    def fileno(self) -> int:
        return -1

    def interrupt(self) -> None:
        self.pieces.clear()

    def is_quiet(self) -> bool:
        return not self.pieces


async def read_all(pieces: list[bytes]) -> list[tuple[RequestHead, bytes]]:
    """Every request in `pieces`, the way a connection reads them."""
    wire = PieceWire(list(pieces))
    site = Site.__new__(Site)
    site.idle = set()
    buffer = bytearray()
    found = []
    while (head := await _read_head(site, wire, buffer)) is not None:
        body = await _read_body(wire, buffer, head)
        assert body is not None
        found.append((head, bytes(body)))
    return found


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_request_cut_at_every_byte_reads_the_same(name: str) -> None:
    raw, body = REQUESTS[name]
    whole = await read_all([raw])
    assert [content for _, content in whole] == [body]
    for cut in range(1, len(raw)):
        assert await read_all([raw[:cut], raw[cut:]]) == whole
    assert await read_all([raw[at : at + 1] for at in range(len(raw))]) == whole


async def test_pipelined_requests_cut_at_every_byte_read_the_same() -> None:
    raw = b"".join(request for request, _ in REQUESTS.values())
    bodies = [body for _, body in REQUESTS.values()]
    for cut in range(len(raw)):
        found = await read_all([piece for piece in (raw[:cut], raw[cut:]) if piece])
        assert [body for _, body in found] == bodies


@pytest.mark.parametrize("name", [name for name in REQUESTS if name != "no body"])
async def test_a_client_that_leaves_in_the_middle_leaves_no_request(name: str) -> None:
    raw, _ = REQUESTS[name]
    end = find_head(raw)
    for cut in range(end, len(raw)):
        wire = PieceWire([raw[end:cut]] if cut > end else [])
        assert await _read_body(wire, bytearray(), parse_request_head(raw[:end])) is None


CHUNKED = b"5\r\nhello\r\n3;x=y\r\nyou\r\n0\r\nT: 1\r\n\r\n"


async def relayed(pieces: list[bytes], *, how: str) -> tuple[bytes, bool]:
    upstream, client = PieceWire(list(pieces)), PieceWire([])
    framing: Framing
    if how == "chunked":
        framing = Chunked()
    elif how == "unchunked":
        framing = Unchunked()
    else:
        framing = Sized(int(how))
    relay = Relay(upstream, client, framing, Pump())
    reusable = await relay.run(b"")
    assert relay.sent == len(client.sent)
    return client.sent, reusable


async def test_a_chunked_response_cut_at_every_byte_is_carried_as_it_came() -> None:
    for cut in range(1, len(CHUNKED)):
        pieces = [CHUNKED[:cut], CHUNKED[cut:]]
        assert await relayed(pieces, how="chunked") == (CHUNKED, True)
        assert await relayed(pieces, how="unchunked") == (b"helloyou", True)
    singles = [CHUNKED[at : at + 1] for at in range(len(CHUNKED))]
    assert await relayed(singles, how="chunked") == (CHUNKED, True)


async def test_a_chunked_response_that_ends_anywhere_early_is_an_error() -> None:
    for cut in range(len(CHUNKED)):
        with pytest.raises(UpstreamViolation):
            await relayed([CHUNKED[:cut]] if cut else [], how="chunked")


async def test_what_follows_a_chunked_response_is_an_error_and_a_sized_one_is_cut() -> None:
    with pytest.raises(UpstreamViolation):
        await relayed([CHUNKED + b"HTTP/1.1 200 OK\r\n\r\n"], how="chunked")
    assert await relayed([b"abcdef"], how="3") == (b"abc", False)
    assert await relayed([b"ab", b"c"], how="3") == (b"abc", True)


def test_the_end_of_chunks_is_known_at_the_very_byte() -> None:
    watch = ChunkWatch()
    for at in range(len(CHUNKED)):
        assert not watch.complete
        watch.feed(CHUNKED[at : at + 1])
    assert watch.complete
    assert not watch.excess


@pytest.mark.parametrize("bad", [b"zz\r\n", b"5\r\nhelloX", b"-1\r\n"])
def test_malformed_response_chunks_are_noticed(bad: bytes) -> None:
    with pytest.raises(httptools.HttpParserError):
        ChunkDecoder().feed(bad)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.data())
def test_any_body_survives_any_chunking_and_any_cut(
    parts: list[bytes], data: st.DataObject
) -> None:
    raw = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    rest = b"GET / HTTP/1.1\r\n"
    cuts = data.draw(st.lists(st.integers(0, len(raw + rest)), max_size=5).map(sorted))
    decoder, buffer, last = ChunkedBody(), bytearray(), 0
    for cut in [*cuts, len(raw + rest)]:
        buffer += (raw + rest)[last:cut]
        last = cut
        decoder.feed(buffer)
    assert decoder.done
    assert bytes(decoder.data) == b"".join(parts)
    assert bytes(buffer) == rest


RESPONSES: dict[str, tuple[bytes, int, bytes]] = {
    "sized": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\nhi", 200, b"hi"),
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        200,
        b"2\r\nhi\r\n0\r\n\r\n",
    ),
    "until close": (b"HTTP/1.0 200 OK\r\n\r\nhi", 200, b"hi"),
    "no body": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "no reason": (b"HTTP/1.1 304\r\nContent-Length: 5\r\n\r\n", 304, b""),
    "100 and 103 before it": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
        201,
        b"",
    ),
    "switched": (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"\r\n\x81\x02hi",
        101,
        b"\x81\x02hi",
    ),
}


async def head_of(pieces: list[bytes]) -> tuple[ResponseHead, bytes]:
    """The head and all that follows it, the way a carriage reads them."""
    wire = PieceWire(list(pieces))
    carriage = Carriage(None, "m", 1, None, Timeouts())  # type: ignore[arg-type]
    head, rest = await carriage._read_head(wire, b"")
    return head, rest + b"".join(wire.pieces)


@pytest.mark.parametrize("name", RESPONSES)
async def test_a_response_cut_at_every_byte_reads_the_same(name: str) -> None:
    raw, status, rest = RESPONSES[name]
    whole = await head_of([raw])
    assert (whole[0].status, whole[1]) == (status, rest)
    for cut in range(1, len(raw)):
        assert await head_of([raw[:cut], raw[cut:]]) == whole
    assert await head_of([raw[at : at + 1] for at in range(len(raw))]) == whole


@pytest.mark.parametrize("name", RESPONSES)
async def test_a_response_that_ends_in_its_head_is_an_error(name: str) -> None:
    raw, _, rest = RESPONSES[name]
    for cut in range(1, len(raw) - len(rest)):
        with pytest.raises((UpstreamViolation, _NothingCame)):
            await head_of([raw[:cut]])


TOKEN = st.text("abcXYZ019-_.!~", min_size=1, max_size=12).map(str.encode)
VALUE = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=20
).map(lambda text: text.encode("latin-1").strip(b" \t"))
HEADER = st.tuples(TOKEN, VALUE)


@settings(max_examples=300)
@given(
    st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"HEAD"]),
    st.text("abc/%?=&.~:@!$'()*+,;-_", max_size=30).map(lambda text: b"/" + text.encode()),
    st.lists(HEADER, max_size=6),
    st.sampled_from([None, b"0", b"17", b"chunked"]),
)
def test_heads_are_read_as_h11_reads_them(
    method: bytes, target: bytes, headers: list[tuple[bytes, bytes]], framing: bytes | None
) -> None:
    lines = [b"Host: h", *(name + b": " + value for name, value in headers)]
    if framing == b"chunked":
        lines.append(b"Transfer-Encoding: chunked")
    elif framing is not None:
        lines.append(b"Content-Length: " + framing)
    raw = method + b" " + target + b" HTTP/1.1\r\n" + b"\r\n".join(lines) + b"\r\n\r\n"
    theirs: type[h11.NEED_DATA | h11.PAUSED] | h11.Event | None
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(raw)
    try:
        theirs = connection.next_event()
    except h11.RemoteProtocolError:
        theirs = None
    try:
        ours = parse_request_head(raw)
    except ProtocolViolation:
        # we may be stricter than h11, never laxer; here there is no reason to be
        assert theirs is None
        return
    assert isinstance(theirs, h11.Request), "accepted what h11 refuses"
    assert ours.method.encode() == theirs.method
    assert ours.target == theirs.target
    assert [(key, value) for key, _, value in ours.fields] == list(theirs.headers)


@settings(max_examples=300)
@given(
    st.sampled_from([b"200 OK", b"204 No Content", b"404 Not", b"500 ", b"299 x y z", b"304 "]),
    st.lists(HEADER, max_size=6),
    st.sampled_from([None, b"0", b"17", b"chunked"]),
    st.sampled_from([b"1.1", b"1.0"]),
)
def test_response_heads_are_read_as_h11_reads_them(
    line: bytes, headers: list[tuple[bytes, bytes]], framing: bytes | None, version: bytes
) -> None:
    lines = [name + b": " + value for name, value in headers]
    if framing == b"chunked":
        lines.append(b"Transfer-Encoding: chunked")
    elif framing is not None:
        lines.append(b"Content-Length: " + framing)
    raw = (
        b"HTTP/" + version + b" " + line + b"\r\n" + b"".join(x + b"\r\n" for x in lines) + b"\r\n"
    )
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "h")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(raw)
    theirs: type[h11.NEED_DATA | h11.PAUSED] | h11.Event | None
    try:
        theirs = connection.next_event()
    except h11.RemoteProtocolError:
        theirs = None
    try:
        ours = parse_response_head(raw)
    except UpstreamViolation:
        assert theirs is None
        return
    assert isinstance(theirs, h11.Response), "accepted what h11 refuses"
    assert ours.status == theirs.status_code
    assert [(name.lower(), value) for name, value in ours.headers] == list(theirs.headers)
    assert ours.version.encode() == theirs.http_version


@settings(max_examples=300)
@given(st.binary(max_size=120))
def test_no_bytes_make_the_head_parser_raise_anything_of_its_own(noise: bytes) -> None:
    for raw in (noise + b"\r\n\r\n", b"GET / HTTP/1.1\r\nHost: h\r\n" + noise + b"\r\n\r\n"):
        try:
            parse_request_head(raw)
        except ProtocolViolation:
            pass
        try:
            parse_response_head(b"HTTP/1.1 200 OK\r\n" + raw)
        except UpstreamViolation:
            pass


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_no_bytes_make_the_chunk_reader_raise_anything_of_its_own(noise: bytes) -> None:
    try:
        ChunkedBody().feed(bytearray(noise))
    except ProtocolViolation:
        pass


@pytest.mark.parametrize(
    ("version", "connection", "kept"),
    [
        ("1.1", None, True),
        ("1.1", "close", False),
        ("1.1", "Keep-Alive, CLOSE", False),
        ("1.0", None, False),
        ("1.0", "keep-alive", True),
    ],
)
def test_whether_a_connection_is_kept(version: str, connection: str | None, kept: bool) -> None:
    line = f"Connection: {connection}\r\n" if connection else ""
    raw = f"GET / HTTP/{version}\r\nHost: h\r\n{line}\r\n".encode()
    assert parse_request_head(raw).keep_alive is kept
    answer = f"HTTP/{version} 200 OK\r\n{line}\r\n".encode()
    assert parse_response_head(answer).keep_alive is kept


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("http://h/a?b", "/a?b"),
        ("HTTPS://h:1", "/"),
        ("http://h?x", "/?x"),
        ("/a#fragment", "/a"),
        ("//a", "//a"),
    ],
)
def test_targets_become_path_and_query(target: str, path: str) -> None:
    raw = f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode()
    assert parse_request_head(raw).target == path.encode()
