"""Reading the copy of a body, in any lots, in any coding. Source: http-api §7.1, §7.2."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections.abc import Callable

import pytest
import zstandard

from llamaswap.telemetry import response_body
from llamaswap.telemetry.response_body import ResponseReader

DOCUMENT = json.dumps({"usage": {"prompt_tokens": 3, "completion_tokens": 4}}).encode()
STREAM = (
    b'data: {"choices":[{"delta":{"content":"\xc3\xa9"}}]}\r\n\r\n'
    b": comment\n\nevent: x\n"
    b'data:{"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\ndata: [DONE]\n\n'
)


def raw_deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


CODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "none": ("", bytes),
    "gzip": ("gzip", gzip.compress),
    "two members": ("GZIP", lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])),
    "deflate, wrapped": ("deflate", zlib.compress),
    "deflate, raw": ("deflate", raw_deflate),
    "zstd": ("zstd", zstandard.ZstdCompressor().compress),
}


def chunked(data: bytes, size: int) -> bytes:
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x;a=b\r\n%b\r\n" % (len(p), p) for p in parts) + b"0\r\nX: y\r\n\r\n"


def lots(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def reader(*, stream: bool = False, framed: bool = False, coding: str = "") -> ResponseReader:
    return ResponseReader(stream, framed, coding, zstandard.ZstdCompressor().compress)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
@pytest.mark.parametrize("framed", [False, True])
@pytest.mark.parametrize("name", CODINGS)
def test_a_document_in_any_coding_and_lots(name: str, framed: bool, size: int) -> None:
    coding, encode = CODINGS[name]
    sent = encode(DOCUMENT)
    if framed:
        sent = chunked(sent, 5)
    body = reader(framed=framed, coding=coding)
    for lot in lots(sent, size):
        body.feed([lot])
    body.end(whole=True)
    assert (bytes(body.body), body.unreadable) == (DOCUMENT, "")
    assert body.usage.result().output == 4


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
@pytest.mark.parametrize("name", CODINGS)
def test_a_stream_in_any_coding_and_lots(name: str, size: int) -> None:
    coding, encode = CODINGS[name]
    body = reader(stream=True, framed=True, coding=coding)
    for lot in lots(chunked(encode(STREAM), 11), size):
        body.feed([lot])
    body.end(whole=True)
    assert body.usage.result().output == 4
    expand = zstandard.ZstdDecompressor().decompress
    assert b"".join(map(expand, body.frames)) == STREAM
    assert body.body == b""


def test_a_last_line_without_its_end_counts() -> None:
    body = reader(stream=True)
    body.feed([STREAM.replace(b"\n\ndata: [DONE]\n\n", b"")])
    body.end(whole=False)
    assert body.usage.result().output == 4


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_what_cannot_be_decompressed_is_said_and_gives_nothing(coding: str) -> None:
    body = reader(coding=coding)
    body.feed([b"\xffthis is no such thing"])
    body.end(whole=True)
    assert body.unreadable
    assert bytes(body.body) == b""
    assert not body.frames
    assert body.usage.result().input == 0


@pytest.mark.parametrize("name", ["gzip", "deflate, wrapped", "deflate, raw", "zstd"])
def test_a_compressed_body_that_ends_too_early_is_unreadable_only_if_it_was_sent_whole(
    name: str,
) -> None:
    coding, encode = CODINGS[name]
    for whole in (True, False):
        body = reader(coding=coding)
        body.feed([encode(DOCUMENT * 50)[:-5]])
        body.end(whole=whole)
        assert bool(body.unreadable) is whole


def test_no_body_is_readable_in_every_coding() -> None:
    for coding in ("", "gzip", "deflate", "zstd", "br"):
        body = reader(coding=coding)
        body.feed([])
        body.end(whole=True)
        assert (body.unreadable, body.length) == ("", 0)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_a_bomb_is_not_unpacked(coding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response_body, "LIMIT", 1 << 20)
    encode = next(encode for name, encode in CODINGS.values() if name == coding)
    bomb = encode(bytes(64 << 20))
    body = reader(coding=coding)
    for lot in lots(bomb, 4096):
        body.feed([lot])
    body.end(whole=True)
    assert body.too_large
    assert len(body.body) == 0


def test_a_document_beyond_the_limit_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response_body, "LIMIT", 1000)
    body = reader()
    for _ in range(20):
        body.feed([b"x" * 100])
    body.end(whole=True)
    assert (body.too_large, len(body.body)) == (True, 0)


def test_a_long_stream_takes_little_memory() -> None:
    line = b'data: {"choices":[{"delta":{"content":"word"},"index":0}],"id":"chatcmpl-1"}\n\n'
    body = reader(stream=True)
    for _ in range(100):
        body.feed([line * 800])  # 64 KB a time
    body.end(whole=True)
    kept = sum(map(len, body.frames))
    assert body.length == len(line) * 80_000
    assert kept < body.length / 20


def test_garbage_after_any_prefix_never_raises() -> None:
    rng = random.Random(7)
    for name, (coding, encode) in CODINGS.items():
        for stream in (False, True):
            data = bytearray(chunked(encode(STREAM), 9))
            for _ in range(30):
                data[rng.randrange(len(data))] = rng.randrange(256)
                body = reader(stream=stream, framed=True, coding=coding)
                body.feed([bytes(data)])
                body.end(whole=True)
                assert isinstance(body.unreadable, str), name
