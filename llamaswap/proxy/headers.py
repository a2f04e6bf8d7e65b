"""Which headers travel, and what we add. Source: http-api §3.2, §3.3; RFC 9110 §7.6.1."""

from __future__ import annotations

from llamaswap.proxy.http1 import HOP_BY_HOP, Headers, RequestHead, ResponseHead

_REPLACED = HOP_BY_HOP | {b"content-length", b"expect", b"x-forwarded-for", b"accept-encoding"}
_READABLE = (b"gzip", b"deflate")
MOST_MADE = 64
"""Clients for whom headers are remembered with one head."""


def request_headers(
    head: RequestHead, peer: str, body_length: int | None, *, readable_answer: bool
) -> Headers:
    """Headers for a local upstream: order, case and duplicates of what passes stay.

    `body_length` None: no body and no Content-Length. `readable_answer`: keep only codings that
    usage can be read from.
    """
    for_whom = peer, readable_answer
    passed: Headers | None = head.made.get(for_whom)
    if passed is None:
        if len(head.made) >= MOST_MADE:
            head.made.clear()
        passed = head.made[for_whom] = _passed(head, peer, readable_answer=readable_answer)
    sent = passed.copy()
    if body_length is not None:
        sent.append((b"Content-Length", b"%d" % body_length))
    return sent


def _passed(head: RequestHead, peer: str, *, readable_answer: bool) -> Headers:
    forwarded: list[bytes] = []
    accepted: list[bytes] = []
    sent: Headers = []
    named = head.connection_names
    for key, name, value in head.fields:
        if key in _REPLACED:
            if key == b"x-forwarded-for":
                forwarded.append(value)
            elif key == b"te" and b"trailers" in value.lower():
                sent.append((name, b"trailers"))
            elif key == b"accept-encoding":
                if not readable_answer:
                    sent.append((name, value))
                else:
                    accepted.append(value)
        elif key not in named or key == b"host":
            sent.append((name, value))
    if accepted and (kept := _readable(b",".join(accepted))):
        sent.append((b"Accept-Encoding", kept))
    forwarded.append(peer.encode("ascii", "replace"))
    sent.append((b"X-Forwarded-For", b", ".join(forwarded)))
    return sent


def _readable(value: bytes) -> bytes:
    entries = [entry.strip() for entry in value.split(b",")]
    kept = [e for e in entries if e.partition(b";")[0].strip().lower() in _READABLE]
    return b", ".join(kept)


def response_headers(head: ResponseHead) -> Headers:
    """Headers for the client: all of the upstream's but those of its connection to us."""
    kept: Headers | None = head.made.get(None)
    if kept is None:
        kept = head.made[None] = _kept(head)
    return kept.copy()


def _kept(head: ResponseHead) -> Headers:
    sent: Headers = []
    stream = False
    buffering: list[int] = []
    named = head.connection_names
    for name, value in head.headers:
        key = name.lower()
        if key in HOP_BY_HOP or key == b"content-length" or key in named:
            continue
        if key == b"content-type" and b"text/event-stream" in value.lower():
            stream = True
        elif key == b"x-accel-buffering":
            buffering.append(len(sent))
        sent.append((name, value))
    if stream:
        for place in reversed(buffering):
            del sent[place]
        sent.append((b"X-Accel-Buffering", b"no"))
    return sent
