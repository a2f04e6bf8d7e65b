"""What happens inside the program, told to whoever listens. Log bytes are not on it.

Publishing never waits: each subscription holds a bounded number of events, and one that cannot
keep up is told so, whereupon its reader takes fresh snapshots instead of the lost events.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import ClassVar

import trio
from attrs import define, field, frozen

LIMIT = 1_000


@frozen
class BusEvent:
    """Something that happened. Frozen; its fields say all there is to know."""

    newest_only: ClassVar[bool] = False
    """Whether an event that still waits is replaced by a later one with the same `subject`."""

    @property
    def subject(self) -> Hashable:
        """What the event is about, for `newest_only`."""
        return None


@frozen
class ModelStateChanged(BusEvent):
    """An upstream went to `state`, spelled as clients see it. Source: lifecycle §1.1."""

    model: str
    state: str


@frozen
class ConfigReloaded(BusEvent):
    """A reload ended. `generation` counts the configurations that were live, from 1 at start."""

    newest_only: ClassVar[bool] = True
    generation: int
    ok: bool = True
    """False: nothing changed, the configuration of `generation` stays."""
    error: str = ""
    """Why, if it failed: every problem on a line of its own."""

    @property
    def subject(self) -> Hashable:
        """A failure does not replace the success before it: that one has to be acted upon."""
        return self.ok


@frozen
class ModelPreloaded(BusEvent):
    """A model of `hooks.on_startup.preload` is up, or could not be brought up."""

    model: str
    success: bool


@frozen(kw_only=True)
class DecisionMade(BusEvent):
    """The scheduler decided about a model that somebody waits for. Source: scheduling §2.10."""

    time: float
    """Unix seconds."""
    kind: str
    """`swap`: it begins; `hold`: an idle model is kept a moment; `gate`: a busy one is granted
    nothing more."""
    model: str
    evicted: tuple[str, ...]
    reason: str
    waiters: int
    oldest_wait: float
    estimate: float


@frozen
class ProfileChanged(BusEvent):
    """The active profile is `active` now; None: none is. Source: http-api §6.1."""

    newest_only: ClassVar[bool] = True
    active: str | None


@frozen
class Overflowed(BusEvent):
    """The subscriber missed events: all that waited is gone, later events follow."""


@define(eq=False)
class BusFeed:
    """One subscriber's events, in order: an async iterator, one consumer."""

    limit: int
    _pending: dict[Hashable, BusEvent] = field(factory=dict, init=False, repr=False)
    _count: int = field(default=0, init=False)
    _over: bool = field(default=False, init=False)
    _bell: trio.lowlevel.ParkingLot = field(
        factory=trio.lowlevel.ParkingLot, init=False, repr=False
    )

    def __aiter__(self) -> BusFeed:
        return self

    async def __anext__(self) -> BusEvent:
        """Return the next event. Ends when the bus does, after the last one."""
        while not self._pending:
            if self._over:
                raise StopAsyncIteration
            await self._bell.park()
        await trio.lowlevel.checkpoint()  # cancelled here, nothing has been taken
        return self._pending.pop(next(iter(self._pending)))

    def push(self, event: BusEvent) -> None:
        """Append `event`, or replace the one it makes stale. Never waits."""
        self._count += 1
        key: Hashable = (type(event), event.subject) if event.newest_only else self._count
        self._pending.pop(key, None)
        if len(self._pending) >= self.limit:
            self._pending.clear()
            self._pending[Overflowed] = Overflowed()
        self._pending[key] = event
        self._bell.unpark()

    def end(self) -> None:
        """Let the reader finish what waits, then end its iteration."""
        self._over = True
        self._bell.unpark_all()


@define(eq=False)
class EventBus:
    """Hands every event to every open feed. Event loop only."""

    _feeds: dict[BusFeed, None] = field(factory=dict, init=False, repr=False)
    _over: bool = field(default=False, init=False)

    @property
    def subscribers(self) -> int:
        """How many feeds are open."""
        return len(self._feeds)

    def publish(self, event: BusEvent) -> None:
        """Tell everybody. Never waits and never fails for a subscriber's sake."""
        for feed in self._feeds:
            feed.push(event)

    @contextmanager
    def subscribe(self, *, limit: int = LIMIT) -> Iterator[BusFeed]:
        """Receive all events published from now on, for the length of the block."""
        feed = BusFeed(limit)
        if self._over:
            feed.end()
        self._feeds[feed] = None
        try:
            yield feed
        finally:
            del self._feeds[feed]

    def end(self) -> None:
        """Shutdown: end every feed, also later ones, after what it still holds."""
        self._over = True
        for feed in self._feeds:
            feed.end()
