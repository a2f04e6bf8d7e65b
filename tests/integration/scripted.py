"""Foreign programs that do as they are told: a LACT daemon on a socket, tools on PATH."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

GIB = 1 << 30
STATS: dict[str, Any] = {
    "fan": {"pwm_current": 102},
    "vram": {"total": 48305799168, "used": 8589934592},
    "power": {"average": None, "current": 96.4},
    "temps": {"GPU": {"current": 51.0}, "VRAM": {"current": 58.0}},
    "busy_percent": 37,
}


def lact_answers(**devices: Any) -> Callable[[dict[str, Any]], Any]:
    """Answer like a daemon with these devices: `device_stats` by id, an Exception is an error."""

    def answer(request: dict[str, Any]) -> Any:
        if request["command"] == "list_devices":
            listed = [{"id": name, "name": f"Card {name}"} for name in devices]
            return {"status": "ok", "data": listed}
        stats = devices[request["args"]["id"]]
        if isinstance(stats, Exception):
            return {"status": "error", "data": str(stats)}
        return {"status": "ok", "data": stats}

    return answer


@asynccontextmanager
async def lact_daemon(path: Path, answer: Callable[[dict[str, Any]], Any]) -> AsyncIterator[None]:
    """Listen on `path` for the length of the block; an answer of None hangs, bytes go as they are.

    Answers arrive in pieces, as they may.
    """

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            rest = b""
            async for chunk in stream:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    reply = answer(json.loads(line))
                    if reply is None:
                        await trio.sleep_forever()
                    if not isinstance(reply, bytes):
                        reply = json.dumps(reply).encode() + b"\n"
                    await stream.send_all(reply[:7])
                    await trio.lowlevel.checkpoint()
                    await stream.send_all(reply[7:])
                    if not reply.endswith(b"\n"):
                        return

    listener = trio.socket.socket(trio.socket.AF_UNIX)
    await listener.bind(str(path))
    listener.listen()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, [trio.SocketListener(listener)])
        yield
        nursery.cancel_scope.cancel()
    path.unlink()


def tool(folder: Path, name: str, code: str) -> Path:
    """Put a program called `name` into `folder` that runs `code` (Python; argv in `sys.argv`)."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    script = folder / f"{name}.script"
    script.write_text(f"import os, signal, sys, time\n{code}\n")
    interpreter = shlex.join([sys.executable, "-I", "-S", str(script)])
    path.write_text(f'#!/bin/sh\nexec {interpreter} "$@"\n')
    path.chmod(0o755)
    return path
