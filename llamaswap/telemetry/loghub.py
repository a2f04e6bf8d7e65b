"""Where every log byte goes: sources with a history, and the live feeds that follow them.

Event loop only; a worker thread hands its bytes over with `TrioToken.run_sync_soon`.
Source: telemetry §1.1-§1.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeAlias

import trio
from attrs import define, field

from llamaswap.telemetry.ring import ByteRing

StdoutMode: TypeAlias = Literal["proxy", "upstream", "both", "none"]

FEED_LIMIT = 1 << 20


@define(eq=False)
class LogFeed:
    """One subscriber's view of a source: an async iterator of bytes, one consumer.

    Holds at most `limit` undelivered bytes (and the history it began with). What does not fit is
    dropped, newest first, and the gap is marked where it is. Chunks that wait are delivered as one.
    """

    limit: int
    to_the_last: bool = False
    """Whether it also gets what is written after the other feeds were ended."""
    _pending: bytearray = field(factory=bytearray, init=False, repr=False)
    _dropped: int = field(default=0, init=False)
    _over: bool = field(default=False, init=False)
    bell: trio.lowlevel.ParkingLot = field(
        factory=trio.lowlevel.ParkingLot, kw_only=True, repr=False
    )
    """Rung for every chunk; a reader of several feeds gives them one bell."""

    @property
    def waits(self) -> bool:
        """Whether there is something to read."""
        return bool(self._pending or self._dropped)

    def __aiter__(self) -> LogFeed:
        return self

    async def __anext__(self) -> bytes:
        """Return all that waits, at once. Ends when the source does, after the last byte."""
        while not self._pending and not self._dropped:
            if self._over:
                raise StopAsyncIteration
            await self.bell.park()
        # A busy source never lets the loop above wait; others must run all the same. Cancelled
        # here, nothing has been taken yet.
        await trio.lowlevel.checkpoint()
        return self.take_now()

    def take_now(self) -> bytes:
        """All that waits, at once; empty if nothing does."""
        chunk = bytes(self._pending)
        self._pending = bytearray()  # clear() would keep the largest size it ever had
        if self._dropped:
            chunk += f"\n— {self._dropped} bytes dropped —\n".encode()
            self._dropped = 0
        return chunk

    def push(self, chunk: bytes) -> int:
        """Append `chunk`, or drop it and return how many bytes that were. Never waits."""
        # Once something is dropped all is, until the reader comes: one gap, one marker.
        if self._dropped or len(self._pending) + len(chunk) > self.limit:
            dropped = len(chunk)
            self._dropped += dropped
        else:
            dropped = 0
            self._pending += chunk
        self.bell.unpark()
        return dropped

    def begin_with(self, history: bytes) -> None:
        """Put `history` before everything, whatever the limit says."""
        self._pending[:0] = history

    def end(self) -> None:
        """Let the reader finish what waits, then end its iteration."""
        self._over = True
        self.bell.unpark_all()


@define(eq=False)
class LogSource:
    """One stream of log bytes: its history and whoever follows it."""

    name: str
    written: int = field(default=0, init=False)
    """Bytes since the source was made."""
    dropped: int = field(default=0, init=False)
    """Bytes that followers were too slow for, over all of them."""
    _ring: ByteRing = field(factory=ByteRing, init=False, repr=False)
    _feeds: dict[LogFeed, None] = field(factory=dict, init=False, repr=False)
    _over: bool = field(default=False, init=False)

    @property
    def followers(self) -> int:
        """How many feeds are open."""
        return len(self._feeds)

    def history(self) -> bytes:
        """Return a copy of the last bytes written; empty if there are none."""
        return self._ring.snapshot()

    def write(self, data: bytes | memoryview) -> None:
        """Append to history and feeds. Never waits; `data` may be reused afterwards."""
        if not len(data):
            return
        self.written += len(data)
        self._ring.write(data)
        if self._feeds:
            chunk = bytes(data)  # copied once for all; free if it is bytes already
            for feed in self._feeds:
                self.dropped += feed.push(chunk)

    @contextmanager
    def follow(
        self,
        *,
        history: bool = True,
        limit: int = FEED_LIMIT,
        to_the_last: bool = False,
        bell: trio.lowlevel.ParkingLot | None = None,
    ) -> Iterator[LogFeed]:
        """Subscribe for the length of the block.

        With `history` the feed begins with it: nothing is lost or doubled between the two.
        """
        feed = LogFeed(limit, to_the_last)
        if bell is not None:
            feed.bell = bell
        if history:
            feed.begin_with(self._ring.snapshot())
        if self._over and not to_the_last:
            feed.end()
        self._feeds[feed] = None
        try:
            yield feed
        finally:
            del self._feeds[feed]

    def clear(self) -> None:
        """Drop the history. Feeds stay."""
        self._ring.clear()

    def end(self, *, last: bool = False) -> None:
        """End all feeds, also later ones, after what they still hold; `last`: every one."""
        self._over = True
        for feed in self._feeds:
            if last or not feed.to_the_last:
                feed.end()


@define(eq=False)
class ModelLog:
    """What the upstream of one model prints. Written by whoever runs the process."""

    source: LogSource
    _hub: LogHub = field(repr=False)

    def write(self, data: bytes | memoryview) -> None:
        """Pass on what the process printed, untouched. Never waits."""
        if self.source.followers:
            data = bytes(data)
        self.source.write(data)
        self._hub.write_upstream(data)

    def started(self) -> None:
        """Forget the previous run: a new one begins. Feeds stay."""
        self.source.clear()

    def stopped(self, requested: bool) -> None:
        """Free the history after a requested stop; after a crash it stays to be read."""
        if requested:
            self.source.clear()


@define(eq=False)
class LogHub:
    """All log sources of the program. `mode` says what reaches stdout, and may change live."""

    mode: StdoutMode = "proxy"
    proxy: LogSource = field(factory=lambda: LogSource("proxy"), init=False)
    upstream: LogSource = field(factory=lambda: LogSource("upstream"), init=False)
    combined: LogSource = field(factory=lambda: LogSource("combined"), init=False)
    all: LogSource = field(factory=lambda: LogSource("all"), init=False)
    """The program and every model, whatever stdout shows. Ours."""
    _models: dict[str, ModelLog] = field(factory=dict, init=False, repr=False)
    _over: bool = field(default=False, init=False)
    _ended: trio.Event = field(factory=trio.Event, init=False, repr=False)

    async def wait_over(self, seconds: float) -> None:
        """Return when the hub ends, at the latest after `seconds`."""
        with trio.move_on_after(seconds):
            await self._ended.wait()

    def write_proxy(self, data: bytes | memoryview) -> None:
        """Append one formatted record of the program itself."""
        self.proxy.write(data)
        self.all.write(data)
        if self.mode in ("proxy", "both"):
            self.combined.write(data)

    def write_upstream(self, data: bytes | memoryview) -> None:
        """Append what some upstream printed; `ModelLog.write` calls it."""
        self.upstream.write(data)
        self.all.write(data)
        if self.mode in ("upstream", "both"):
            self.combined.write(data)

    def model(self, model: str) -> ModelLog:
        """Return the log of a model by its real id; made on first use, the same ever after."""
        log = self._models.get(model)
        if log is None:
            log = self._models[model] = ModelLog(LogSource(f"model:{model}"), self)
            if self._over:
                log.source.end()
        return log

    def _shared(self) -> Sequence[LogSource]:
        return self.proxy, self.upstream, self.combined, self.all

    def sources(self) -> Sequence[LogSource]:
        """Every source there is now."""
        return (*self._shared(), *(log.source for log in self._models.values()))

    def keep_models(self, models: Iterable[str]) -> None:
        """After a reload: end the feeds of all other models and forget their history."""
        for gone in self._models.keys() - set(models):
            self._models.pop(gone).source.end()

    def end(self, *, last: bool = False) -> None:
        """Shutdown: end the feeds after what they still hold. Writing goes on to histories.

        Feeds that want to hear the last word (stdout) end with `last`, when nothing more comes.
        """
        self._over = True
        if last:
            self._ended.set()
        for source in self._shared():
            source.end(last=last)
        for log in self._models.values():
            log.source.end(last=last)
