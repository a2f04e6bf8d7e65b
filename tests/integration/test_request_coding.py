"""Request bodies that come compressed, or without their content type. Source: http-api §2.1."""

from __future__ import annotations

import gzip
import json
import random
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
import zstandard

from llamaswap.config.schema import Filters, Model
from llamaswap.content_coding import TooLarge, decompressor
from tests.integration.test_proxy import echo
from tests.integration.wire_stage import post, stage


def raw_deflate(data: bytes) -> bytes:
    compress = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compress.compress(data) + compress.flush()


def zstd(data: bytes) -> bytes:
    compress = zstandard.ZstdCompressor().compressobj()  # says nothing of the size beforehand
    return compress.compress(data) + compress.flush()


CODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "two members": ("GZIP", lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "zstd": ("zstd", zstd),
    "identity": ("identity", bytes),
}
NOISE = random.Random(7).randbytes(70_000).hex()
BODIES = {
    "small": b'{"model":"m","messages":[]}',
    "large": json.dumps({"messages": [NOISE], "model": "m"}).encode(),
}


@pytest.mark.parametrize("size", BODIES)
@pytest.mark.parametrize("name", CODINGS)
async def test_a_compressed_body_is_read_and_goes_on_plain(name: str, size: str) -> None:
    coding, compress = CODINGS[name]
    plain = BODIES[size]
    async with stage() as here:
        await here.upstream(echo)
        client = await here.client()
        for _ in range(1 if size == "large" else 2):
            path, more = "/v1/chat/completions", f"Content-Encoding: {coding}"
            await client.send(post(compress(plain), path, more, "X-Kept: 1"))
            answer = await client.response()
            head, _, body = answer.body.partition(b"|")
            assert answer.status == 200
            assert body == plain
            assert b"content-encoding" not in head.lower()
            assert b"Content-Length: %d\r\n" % len(plain) in head
            assert b"X-Kept: 1\r\n" in head


async def test_what_a_configuration_changes_is_changed_in_it() -> None:
    model = Model(id="m", use_model_name="real", filters=Filters(strip_params=("top_k",)))
    async with stage(model) as here:
        await here.upstream(echo)
        client = await here.client()
        sent = gzip.compress(b'{"model":"m","top_k":3,"a":1}')
        await client.send(post(sent, "/v1/completions", "Content-Encoding: gzip"))
        answer = await client.response()
        assert answer.body.endswith(b'|{"model":"real","a":1}')


BOMB = b'{"model":"m","x":"' + bytes(66 << 20) + b'"}'
CHAT = BODIES["small"]


@pytest.mark.parametrize(
    ("coding", "body", "status", "text"),
    [
        ("br", b"\x0b\x02\x80{}\x03", 400, "send it as gzip, deflate or zstd, or as it is"),
        ("gzip, gzip", CHAT, 400, "has Content-Encoding 'gzip, gzip'"),
        ("gzip", CHAT, 400, "the request body is not gzip: "),
        ("gzip", gzip.compress(CHAT)[:-9], 400, "is not gzip: it ends too early"),
        ("deflate", b"\x78\x9c\xff\xff", 400, "is not deflate: "),
        ("zstd", CHAT, 400, "is not zstd: "),
        ("zstd", zstd(CHAT)[:-3], 400, "is not zstd: it ends too early"),
        ("gzip", gzip.compress(BOMB, 1), 413, "larger than 64 MiB once it is decompressed"),
        ("zstd", zstd(BOMB), 413, "larger than 64 MiB once it is decompressed"),
        ("gzip", gzip.compress(b'{"model":"x"}'), 404, "no router for requested model: x"),
        ("gzip", gzip.compress(b"{}"), 404, "no model id could be identified"),
        ("gzip", b"", 404, "no model id could be identified"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_body_that_cannot_be_made_plain_is_refused(
    coding: str, body: bytes, status: int, text: str
) -> None:
    async with stage() as here:
        await here.upstream(echo)
        client = await here.client()
        await client.send(post(body, "/v1/chat/completions", f"Content-Encoding: {coding}"))
        answer = await client.response()
        assert answer.status == status, answer.body
        assert text in answer.body.decode()
        await client.send(post(CHAT))  # the connection goes on
        assert (await client.response()).status == 200


async def test_below_upstream_a_body_stays_as_it_came() -> None:
    async with stage() as here:
        await here.upstream(echo)
        client = await here.client()
        sent = gzip.compress(CHAT)
        await client.send(post(sent, "/upstream/m/anything", "Content-Encoding: gzip"))
        head, _, body = (await client.response()).body.partition(b"|")
        assert body == sent
        assert b"Content-Encoding: gzip\r\n" in head


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_a_bomb_never_fills_memory(coding: str) -> None:
    _, compress = CODINGS[coding]
    data = compress(bytes(200 << 20))
    tracemalloc.start()
    try:
        reader = decompressor(coding, 1 << 20)
        assert reader is not None
        with pytest.raises(TooLarge):
            reader.feed(data)
        assert tracemalloc.get_traced_memory()[1] < 48 << 20
    finally:
        tracemalloc.stop()


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("kind", "body", "hint"),
    [
        (FORM, b'{"model": "m"', f"Content-Type is '{FORM}'; JSON is read with"),
        ("text/plain", b' {"model": "m"}', "Content-Type is 'text/plain'; JSON is read with"),
        ("", b'{"model": "m"}', "Content-Type is missing; JSON is read with"),
        (FORM, b"prompt=x", ""),
        ("text/plain", b"model", ""),
        ("application/json", b'{"prompt": "x"}', ""),
    ],
)
async def test_json_without_its_content_type_is_told_of_it(
    kind: str, body: bytes, hint: str
) -> None:
    async with stage() as here:
        await here.upstream(echo)
        client = await here.client()
        header = f"Content-Type: {kind}\r\n" if kind else ""
        request = post(body).replace(b"Content-Type: application/json\r\n", header.encode())
        await client.send(request)
        answer = await client.response()
        message = json.loads(answer.body)["error"]["message"]
        assert answer.status == 404
        assert message.startswith("no model id could be identified")
        assert message.endswith(" with 'Content-Type: application/json')") == bool(hint)
        assert hint in message
