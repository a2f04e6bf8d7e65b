"""Serve the control plane on a private Unix socket. Its only client is the data plane."""

from __future__ import annotations

import socket
from functools import partial

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config as HypercornConfig
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, ConnectionState, LifespanState

KEEP_ALIVE = 3600.0  # the data plane's pool decides when an idle connection goes


async def serve_control_plane(app: ASGIFramework, listener: socket.socket) -> None:
    """Serve `app` on a listening Unix socket until cancelled; closes the socket.

    Cancel it after the data plane has let go of its connections: hypercorn (0.18) shields its
    sending, so a client that does not read would keep it for ever.
    """
    try:
        config = HypercornConfig()
        config.accesslog = None
        config.errorlog = None
        config.include_server_header = False
        config.keep_alive_timeout = KEEP_ALIVE
        # hypercorn's own loop would run a lifespan, signals and a grace of its own
        handle = partial(
            TCPServer,
            ASGIWrapper(app),
            config,
            WorkerContext(None),
            ConnectionState(LifespanState({})),
        )
        source = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
        await trio.serve_listeners(handle, [source])
    finally:
        listener.close()  # the socket's file goes with its folder, which is the caller's
