"""What happens inside the program, told to whoever listens. Log bytes are not on it.

Publishing never waits: each subscription holds a bounded number of events, and one that cannot
keep up is told so, whereupon its reader takes fresh snapshots instead of the lost events.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import ClassVar

import trio
from attrs import define, field, frozen

LIMIT = 1_000
FULL_AGAIN = 3 / 4
"""Share of the limit above which thinning out was in vain: it would be due again at once."""


@frozen
class BusEvent:
    """Something that happened. Frozen; its fields say all there is to know."""

    newest_only: ClassVar[bool] = False
    """Whether an event that still waits is replaced by a later one with the same `subject`."""

    @property
    def subject(self) -> Hashable:
        """What the event is about, for `newest_only`."""
        return None

    @property
    def crowded_subject(self) -> Hashable:
        """In a feed that runs over, of all events with this key the last is enough; None: no."""
        return None


@frozen
class ModelStateChanged(BusEvent):
    """An upstream went to `state`, spelled as clients see it. Source: lifecycle §1.1."""

    model: str
    state: str

    @property
    def crowded_subject(self) -> Hashable:
        """Where a model is now is what counts."""
        return ModelStateChanged, self.model


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
class ActivityStored(BusEvent):
    """A row of activity was stored; readers fetch it. Source: telemetry §5.3."""

    id: int

    @property
    def crowded_subject(self) -> Hashable:
        """Whoever fetches after the last row gets the others too."""
        return ActivityStored


@frozen
class Overflowed(BusEvent):
    """The subscriber missed events: all that waited is gone, later events follow."""


def thinned(events: Iterable[BusEvent]) -> list[BusEvent]:
    """`events` without those that a later one makes superfluous, in order."""
    kept: list[BusEvent] = []
    seen: set[Hashable] = set()
    for event in reversed(list(events)):
        subject = event.crowded_subject
        if subject is not None:
            if subject in seen:
                continue
            seen.add(subject)
        kept.append(event)
    kept.reverse()
    return kept


@define(eq=False)
class BusFeed:
    """One subscriber's events, in order: an async iterator, one consumer."""

    limit: int
    bell: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot, repr=False)
    """Rung for every event; a reader of several feeds gives them one bell."""
    _pending: dict[Hashable, BusEvent] = field(factory=dict, init=False, repr=False)
    _count: int = field(default=0, init=False)
    _over: bool = field(default=False, init=False)

    @property
    def waits(self) -> bool:
        """Whether there is an event to read."""
        return bool(self._pending)

    @property
    def over(self) -> bool:
        """Whether nothing will come any more, once what waits is read."""
        return self._over

    def __aiter__(self) -> BusFeed:
        return self

    async def __anext__(self) -> BusEvent:
        """Return the next event. Ends when the bus does, after the last one."""
        while not self._pending:
            if self._over:
                raise StopAsyncIteration
            await self.bell.park()
        await trio.lowlevel.checkpoint()  # cancelled here, nothing has been taken
        return self._pending.pop(next(iter(self._pending)))

    def take_now(self) -> list[BusEvent]:
        """All events that wait, in order; none if there are none."""
        events = list(self._pending.values())
        self._pending.clear()
        return events

    def push(self, event: BusEvent) -> None:
        """Append `event`, or replace the one it makes stale. Never waits."""
        self._count += 1
        key: Hashable = (type(event), event.subject) if event.newest_only else self._count
        self._pending.pop(key, None)
        if len(self._pending) >= self.limit:
            self._make_room()
        self._pending[key] = event
        self.bell.unpark()

    def _make_room(self) -> None:
        kept = set(map(id, thinned(self._pending.values())))
        if len(kept) > self.limit * FULL_AGAIN:
            self._pending = {Overflowed: Overflowed()}
        else:
            self._pending = {k: e for k, e in self._pending.items() if id(e) in kept}

    def end(self) -> None:
        """Let the reader finish what waits, then end its iteration."""
        self._over = True
        self.bell.unpark_all()


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
    def subscribe(
        self, *, limit: int = LIMIT, bell: trio.lowlevel.ParkingLot | None = None
    ) -> Iterator[BusFeed]:
        """Receive all events published from now on, for the length of the block."""
        feed = BusFeed(limit) if bell is None else BusFeed(limit, bell)
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
