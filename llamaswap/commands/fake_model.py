"""`fake-model`: a server that pretends to be a model, for trying things out."""

from __future__ import annotations

import signal
from collections.abc import Sequence

import trio

from llamaswap.commands.arguments import Flag, Line
from llamaswap.commands.running import run_async
from llamaswap.demo.server import ModelServer
from llamaswap.errors import LlamaswapError
from llamaswap.flags import UsageError

LINE = Line(
    name="fake-model",
    summary="Serve chat, completions, messages and embeddings without a model.",
    flags=(
        Flag("listen", "host:port", "address to serve on", default="localhost:9898"),
        Flag("port", "PORT", "port on 127.0.0.1, instead of -listen"),
        Flag("model", "NAME", "what it calls itself", default="fake-model"),
        Flag("tokens", "N", "tokens of an answer", default="1000"),
        Flag("tps", "N", "tokens a second; 0 or less means 1", default="75"),
        Flag("load", "DURATION", "503 on /health until then", default="0s"),
    ),
)


class NoAddress(LlamaswapError):
    """It cannot listen there."""


def run(arguments: Sequence[str]) -> int:
    """Serve until SIGINT or SIGTERM."""
    given = LINE.read(arguments)
    listen = f"127.0.0.1:{given.text('port')}" if given.text("port") else given.text("listen")
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"-listen must be host:port, not {listen!r}")
    rate = given.number("tps")
    server = ModelServer(
        given.text("model"),
        load_seconds=given.seconds("load"),
        rate=rate if rate > 0 else 1.0,
        tokens=given.count("tokens"),
    )
    run_async(lambda: _serve(server, host.strip("[]"), int(port)))
    return 0


async def _serve(server: ModelServer, host: str, port: int) -> None:
    try:
        listeners = await trio.open_tcp_listeners(port, host=host or "localhost")
    except OSError as exc:
        raise NoAddress(f"cannot listen on {host}:{port}: {exc}") from exc
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            await nursery.start(server.serve_listeners, listeners)
            address = listeners[0].socket.getsockname()
            print(f"{server.model} listens on http://{address[0]}:{address[1]}", flush=True)
            await anext(aiter(signals))
            nursery.cancel_scope.cancel(reason="signal")
