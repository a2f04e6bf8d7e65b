"""`wol-proxy`: stands before a llamaswap on a machine that sleeps, and wakes it when needed.

Source: telemetry §7.6.
"""

from __future__ import annotations

import logging
import math
import re
import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial

import trio
from attrs import define, field

from llamaswap.commands.arguments import Flag, Given, HelpWanted, Line
from llamaswap.commands.running import run_async
from llamaswap.errors import LlamaswapError
from llamaswap.flags import UsageError
from llamaswap.forwarding import Forwarding, forward_from, log_to_stdout
from llamaswap.http_client import open_client, transport_errors
from llamaswap.nursery.endpoint import Endpoint

logger = logging.getLogger("wol-proxy")

LINE = Line(
    name="",
    program="wol-proxy",
    summary="Forward to a llamaswap on a machine that sleeps; wake it with a magic packet.",
    flags=(
        Flag("mac", "MAC", "hardware address of the machine (needed)"),
        Flag("upstream", "URL", "where its llamaswap listens (needed)"),
        Flag("listen", "host:port", "address to serve on", default=":8080"),
        Flag("log", "LEVEL", "how much is logged", default="info",
             choices=("debug", "info", "warn", "error")),
        Flag("timeout", "SECONDS", "how long requests wait for it to wake", default="60"),
        Flag("api-key", "KEY", "one of the upstream's apiKeys", environ="LLAMASWAP_API_KEY"),
        Flag("broadcast", "host:port", "where magic packets go", default="255.255.255.255:9"),
    ),
)  # fmt: skip
MAC = re.compile(r"[0-9A-Fa-f]{2}([:-]?[0-9A-Fa-f]{2}){5}")
CHECK = 0.25
PACKET_INTERVAL = 1.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>waking up</title>
<meta name="viewport" content="width=device-width">
<style>body{font:1.2rem system-ui,sans-serif;margin:20vh auto;max-width:30rem;text-align:center;
color-scheme:light dark}</style><h1>Waking the server up…</h1>
<p>This page goes on by itself.</p><script>
setInterval(async()=>{try{const answer=await fetch("/status",{cache:"no-store"});
if((await answer.text()).includes("status: ready"))location.reload()}catch{}},1000)
</script></html>
"""


class BadFlag(LlamaswapError):
    """A flag's value cannot be used."""


@define(eq=False)
class Sleeper:
    """The machine that sleeps, and what we know of it."""

    mac: bytes
    timeout: float
    broadcast: tuple[str, int]
    ready: bool = False
    failures: int = 0
    _last_packet: float = field(default=-math.inf, init=False)

    async def answer(self, exchange: Forwarding) -> None:
        """Forward, or wake the machine and wait."""
        path = exchange.path
        if path == "/status":
            word = "ready" if self.ready else "not ready"
            await exchange.say(200, f"status: {word}\nfailures: {self.failures}\n")
        elif self.ready:
            await exchange.forward()
        elif path.startswith("/api/events"):
            await exchange.send(204, [], b"")  # a page left open must not keep it awake
        elif path == "/" or path.startswith("/ui/"):
            self.wake()
            await exchange.say(200, PAGE, "text/html; charset=utf-8")
        elif await self._becomes_ready():
            await exchange.forward()
        else:
            await exchange.say(408, "timeout")

    async def _becomes_ready(self) -> bool:
        with trio.move_on_after(self.timeout):
            while not self.ready:
                self.wake()
                await trio.sleep(CHECK)
        return self.ready

    def wake(self) -> None:
        """Send a magic packet, at most one a second."""
        now = trio.current_time()
        if now - self._last_packet < PACKET_INTERVAL:
            return
        self._last_packet = now
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            try:
                sock.sendto(b"\xff" * 6 + self.mac * 16, self.broadcast)
            except OSError as exc:
                logger.warning("cannot send a magic packet: %s", exc)
                return
        logger.info("magic packet sent to %s", self.mac.hex(":"))

    async def watch(self, url: str, key: str) -> None:
        """Be connected to the event stream of the upstream; that is what being ready means."""
        endpoint = Endpoint.parse(url)
        base = f"{endpoint.scheme}://{endpoint.authority}"
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        pause = FIRST_PAUSE
        async with open_client(base, headers=headers) as client:
            while True:
                lost = False
                try:
                    async with client.stream("GET", "/api/events") as events:
                        if events.status_code == 200:
                            self._is_ready()
                            pause, lost = FIRST_PAUSE, True
                            async for _ in events.aiter_raw():
                                pass
                        else:
                            logger.debug("%s/api/events answered %d", base, events.status_code)
                except transport_errors() as exc:
                    logger.debug("%s: %s", base, exc)
                if self.ready:
                    logger.info("%s is gone", base)
                self.ready = False
                self.failures += 1
                if not lost:
                    await trio.sleep(pause)
                    pause = min(LONGEST_PAUSE, pause * 2)

    def _is_ready(self) -> None:
        self.ready, self.failures = True, 0
        logger.info("the upstream is ready")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal; return the exit code: 0, 1 for bad values, 2 for nonsense."""
    try:
        given = LINE.read(sys.argv[1:] if arguments is None else arguments)
        sleeper = _sleeper(given)
        log_to_stdout(given.text("log"))
        run_async(partial(_run, given, sleeper))
    except HelpWanted as wish:
        print(wish, end="")  # noqa: T201
    except UsageError as exc:
        print(f"wol-proxy: {exc}\n\n{LINE.usage()}", file=sys.stderr, end="")  # noqa: T201
        return 2
    except LlamaswapError as exc:
        print(f"wol-proxy: {exc}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _sleeper(given: Given) -> Sleeper:
    mac = given.text("mac")
    if not MAC.fullmatch(mac):
        raise BadFlag(f"-mac {mac!r} is no hardware address of six bytes, as 00:11:22:33:44:55")
    try:
        Endpoint.parse(given.text("upstream"))
    except ValueError as exc:
        raise BadFlag(f"-upstream {exc}") from exc
    host, _, port = given.text("broadcast").rpartition(":")
    if not host or not port.isdigit():
        raise BadFlag(f"-broadcast {given.text('broadcast')!r} is no host:port")
    raw = bytes.fromhex(re.sub("[:-]", "", mac))
    return Sleeper(raw, float(given.count("timeout")), (host, int(port)))


async def _run(given: Given, sleeper: Sleeper) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            url = given.text("upstream").rstrip("/")
            await nursery.start(forward_from, given.text("listen"), url, sleeper.answer)
            nursery.start_soon(sleeper.watch, url, given.text("api-key"))
            await anext(aiter(signals))
            nursery.cancel_scope.cancel(reason="signal")


if __name__ == "__main__":
    sys.exit(main())
