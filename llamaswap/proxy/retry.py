"""Whether a request may be sent a second time. Source: RFC 9110 §9.2.2, RFC 9112 §9.3.1.

A pooled connection may be closed by the other side in the very moment it is used. Sending again is
right only if that cannot make a model server do the same work twice.
"""

from __future__ import annotations

import socket
import struct
import sys

from llamaswap.proxy.wire import SocketWire, Wire

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
_BYTES_ACKED = 120
"""Offset of `tcpi_bytes_acked` in Linux's `struct tcp_info`, part of its ABI since 4.1."""


def may_ask_again(method: str, wire: Wire, before: int) -> bool:
    """Whether a request that brought no byte of an answer may go out on another connection.

    `before`: what had been written on `wire` before the request. A method that is not idempotent is
    repeated only if the system knows that the other side never took a byte of it.
    """
    return method in IDEMPOTENT or _took_nothing_since(wire, before)


def _took_nothing_since(wire: Wire, before: int) -> bool:
    if sys.platform != "linux" or not isinstance(wire, SocketWire):
        return False
    try:
        info = wire.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED + 8)
        (acknowledged,) = struct.unpack_from("Q", info, _BYTES_ACKED)
    except (OSError, struct.error):
        return False
    return bool(acknowledged - 1 <= before)  # the opening of the connection counts as one
