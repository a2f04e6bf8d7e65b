"""Somebody else on a model's port would be taken for the model: its health check passes, and
requests go to it. Said in the log, not refused: a `cmd` may free the port itself, or attach to a
server that runs already.
"""

from __future__ import annotations

import errno
import logging
import socket
from contextlib import suppress

import trio

from llamaswap.nursery.endpoint import Endpoint

logger = logging.getLogger(__name__)

HERE = {
    "localhost": ("127.0.0.1", "::1"),
    "127.0.0.1": ("127.0.0.1",),
    "::1": ("::1",),
}
"""Hosts whose ports can be looked at from here, with their addresses."""


async def warn_if_taken(model: str, endpoint: Endpoint) -> None:
    """Say so if somebody listens where `model` is about to. Microseconds if nobody does."""
    addresses = HERE.get(endpoint.host, ())
    if not any(_is_taken(address, endpoint.port) for address in addresses):
        return
    holder = await trio.to_thread.run_sync(_holder, endpoint.port)
    logger.warning(
        "<%s> port %d is taken before the model starts, by %s: what listens there may answer in "
        "its place. Stop it, or give the model another port (startPort, or cmd and proxy)",
        model,
        endpoint.port,
        holder,
    )


def _is_taken(address: str, port: int) -> bool:
    """Whether somebody listens there. Asks the system by binding: nobody's server notices.

    macOS says so only of a listener on this very address, not of one on all of them.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # past what closed connections leave behind for a minute
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except OSError as exc:
        return exc.errno == errno.EADDRINUSE  # else: no IPv6 here, or a port for root alone
    return False


def _holder(port: int) -> str:
    """Who listens on `port`, as far as we may know."""
    import psutil  # it takes a while, and is hardly ever needed

    with suppress(psutil.Error, OSError):
        for found in psutil.net_connections("tcp"):
            listens = found.status == psutil.CONN_LISTEN and found.laddr[1:2] == (port,)
            if listens and found.pid is not None:
                return f"process {found.pid} ({psutil.Process(found.pid).name()})"
    return "a process of another user or in a container"
