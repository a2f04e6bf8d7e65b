"""The access log's line: one record per finished request, in a form scripts can search.

Source: telemetry §1.6.
"""

from __future__ import annotations

import time

import msgspec
import trio
from attrs import define, field

from llamaswap.telemetry.logging_setup import LogSettings
from llamaswap.telemetry.loghub import LogHub

GATHER = 0.02
"""Seconds in which records are gathered, to be written as one: written singly through `logging`
they took a fifth of a small request."""

_SILENT = ("/wol-health", "/api/performance", "/metrics")


class AccessRecord(msgspec.Struct, frozen=True):
    """A finished exchange, as its line tells it."""

    client: str
    method: str
    path: str
    """Decoded, without the query."""
    protocol: str
    status: int
    sent: int
    """Body bytes written to the client."""
    user_agent: str
    duration: float
    """Seconds from acceptance to the end of the response."""
    ended: float = msgspec.field(default_factory=time.time)


@define(eq=False)
class AccessLog:
    """Takes records at once and writes their lines soon after, many in one go."""

    hub: LogHub
    settings: LogSettings
    _waiting: list[AccessRecord] = field(factory=list, init=False)
    _bell: trio.Event = field(factory=trio.Event, init=False)

    def add(self, record: AccessRecord) -> None:
        """Keep `record` for the next line. Never waits."""
        self._waiting.append(record)
        if len(self._waiting) == 1:
            self._bell.set()

    async def run(self) -> None:
        """Write until cancelled; call `flush` at the very end."""
        while True:
            await self._bell.wait()
            await trio.sleep(GATHER)
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        records, self._waiting = self._waiting, []
        self._bell = trio.Event()
        if not self.settings.shows_info:
            return
        line = self.settings.layout.line
        text = "".join(
            line("INFO", record.ended, access_line(record))
            for record in records
            if is_logged(record.path)
        )
        self.hub.write_proxy(text.encode(errors="backslashreplace"))


def is_logged(path: str) -> bool:
    """Whether a request for the decoded `path` leaves a record; what is polled does not."""
    return not path.startswith(_SILENT)


def access_line(record: AccessRecord) -> str:
    """One request as scripts look for it."""
    client, method, path, agent = record.client, record.method, record.path, record.user_agent
    if _needs_escapes(f"{client}{method}{path}{agent}"):
        client, method, path, agent = map(escaped, (client, method, path, agent))
    return (
        f'Request {client} "{method} {path} {record.protocol}" '
        f'{record.status} {record.sent} "{agent}" {duration_text(record.duration)}'
    )


def client_address(peer: str, forwarded_for: str = "", real_ip: str = "") -> str:
    """Name who asked: what the nearest proxy says, else the peer's address without port."""
    return forwarded_for.partition(",")[0].strip() or real_ip.strip() or peer


def escaped(text: str) -> str:
    """Return `text` with quotes, backslashes and all that is not printable escaped.

    So neither a path nor a user agent can end its field or begin a line of its own.
    """
    if not _needs_escapes(text):
        return text
    return "".join(_escaped_character(character) for character in text)


def _needs_escapes(text: str) -> bool:
    return not text.isprintable() or '"' in text or "\\" in text


def _escaped_character(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


def duration_text(duration: float) -> str:
    """Write `duration` (seconds) in its largest fitting unit: `850ns`, `1.25ms`, `1h0m5s`."""
    nanos = max(0, round(duration * 1e9))
    if nanos == 0:
        return "0s"
    for unit, size in (("ns", 1), ("µs", 1_000), ("ms", 1_000_000)):
        if nanos < size * 1_000:
            return f"{_decimal(nanos, size)}{unit}"
    minutes, nanos = divmod(nanos, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{_decimal(nanos, 1_000_000_000)}s"
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def _decimal(count: int, size: int) -> str:
    """Return `count / size` exactly (`size` a power of ten up to 1e9), without trailing zeros."""
    return f"{count / size:.9f}".rstrip("0").rstrip(".")
