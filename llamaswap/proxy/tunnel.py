"""After a 101: bytes both ways until either side closes. Source: http-api §3.4."""

from __future__ import annotations

import trio

from llamaswap.proxy.wire import Wire


async def tunnel(client: Wire, upstream: Wire, early: bytes) -> int:
    """Carry bytes both ways; `early` came from the upstream behind its head.

    Returns the bytes sent to the client. Both wires are the caller's to close.
    """
    sent = 0

    async def to_client() -> None:
        nonlocal sent
        data = early
        while True:
            if data:
                await client.send_all(data)
                sent += len(data)
            data = await upstream.recv()
            if not data:
                break
        nursery.cancel_scope.cancel(reason="the upstream closed its tunnel")

    async def to_upstream() -> None:
        while data := await client.recv():
            await upstream.send_all(data)
        nursery.cancel_scope.cancel(reason="the client closed its tunnel")

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(to_client)
            nursery.start_soon(to_upstream)
    except* (ConnectionError, OSError):
        pass  # one side is gone; that is how tunnels end
    return sent
