"""Telling systemd that the program is ready, alive, and about to stop.

The protocol is one datagram per message to the socket that `NOTIFY_SOCKET` names; nothing ever
waits for it. Source: sd_notify(3), sd_watchdog_enabled(3).
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping

import trio
from attrs import define

logger = logging.getLogger(__name__)

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


@define(eq=False)
class ServiceManager:
    """The service manager that started us, or nobody."""

    address: str = ""
    """Of its socket: a path, or `@` and an abstract name; empty: nobody listens."""
    watchdog: float = 0.0
    """Seconds without a sign of life after which it restarts us; 0: it does not look."""

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> ServiceManager:
        """Read the variables and take them out, so that no model process speaks for us."""
        values = {name: environ.pop(name, "") for name in VARIABLES}
        address = values["NOTIFY_SOCKET"]
        if not address.startswith(("/", "@")) or not hasattr(socket, "AF_UNIX"):
            return cls()
        microseconds = values["WATCHDOG_USEC"]
        ours = values["WATCHDOG_PID"] in ("", str(os.getpid()))
        seconds = int(microseconds) / 1e6 if microseconds.isdigit() and ours else 0.0
        return cls(address, seconds)

    def ready(self, status: str) -> None:
        """The address is bound and requests are answered."""
        self._tell(f"READY=1\nSTATUS={status}\nMAINPID={os.getpid()}")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._tell(f"STATUS={text}")

    def stopping(self) -> None:
        """The orderly end has begun."""
        self._tell("STOPPING=1\nSTATUS=stopping")

    async def keep_alive(self) -> None:
        """Give a sign of life twice per limit, from the event loop: one that hangs gives none."""
        if not self.watchdog:
            return
        while True:
            self._tell("WATCHDOG=1")
            await trio.sleep(self.watchdog / 2)

    def _tell(self, message: str) -> None:
        if not self.address:
            return
        name = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)
            try:
                sock.sendto(message.encode(), name)
            except BlockingIOError:
                pass  # its queue is full; the next sign of life will do
            except OSError as exc:
                logger.warning("cannot talk to the service manager at %s: %s", self.address, exc)
                self.address = ""  # said once
