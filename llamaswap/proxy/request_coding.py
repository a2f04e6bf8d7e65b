"""Request bodies that come compressed: the model's name stands in them, so they are made plain.

They go on plain too, whether anything in them is changed or not: few model servers take a coding
off, and all take bodies without one. Source: http-api §2.1.
"""

from __future__ import annotations

import trio
from attrs import evolve

from llamaswap.content_coding import TooLarge, Unreadable, decompressor
from llamaswap.errors import BadRequest, LlamaswapError
from llamaswap.proxy.http1 import RequestHead

LIMIT = 64 * 1024 * 1024
"""Plain bytes; what is sent plain has no limit, but costs its sender as much as us."""


class BodyTooLarge(LlamaswapError):
    """A compressed body stands for more than we take."""

    status = 413


async def made_plain(head: RequestHead, body: bytearray) -> tuple[RequestHead, bytearray]:
    """Head and body without their content coding.

    Raises:
        BadRequest: the coding is none we know, or the body is not in it.
        BodyTooLarge: it stands for more than `LIMIT` bytes.
    """
    coding = (head.get(b"content-encoding") or b"").decode("latin-1").strip().lower()
    if coding not in ("", "identity"):
        # always in a thread: a few kilobytes can stand for all that the limit allows
        body = await trio.to_thread.run_sync(_plain, coding, body)
    fields = [field for field in head.fields if field[0] != b"content-encoding"]
    index = {name: value for name, value in head.index.items() if name != b"content-encoding"}
    return evolve(head, fields=fields, index=index), body


def _plain(coding: str, body: bytearray) -> bytearray:
    reader = decompressor(coding, LIMIT)
    if reader is None:
        raise BadRequest(
            f"the request body has Content-Encoding '{coding}'; "
            "send it as gzip, deflate or zstd, or as it is"
        )
    try:
        plain = reader.feed(bytes(body))
        reader.end()
    except Unreadable as exc:
        raise BadRequest(f"the request body is not {coding}: {exc}") from exc
    except TooLarge as exc:
        raise BodyTooLarge(
            f"the request body is larger than {LIMIT >> 20} MiB once it is decompressed; "
            "send it without Content-Encoding"
        ) from exc
    return bytearray(plain)
