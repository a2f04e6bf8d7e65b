"""Keeps the books: what is in flight, one row for each finished request, captures.

The data plane tells an observation after another and never waits. What takes time (reading the
copy of a body, compressing, SQLite) happens in one worker thread, in lots; a database that is
locked, full or broken costs the rows and captures of that moment and no request.
Source: telemetry §5.3, §5.5; http-api §7.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import msgspec
import trio
from attrs import define, field

from llamaswap.config.schema import Config
from llamaswap.telemetry.activity import (
    ActivityRow,
    content_type,
    header_of,
    is_success,
    make_row,
)
from llamaswap.telemetry.bus import ActivityStored, EventBus
from llamaswap.telemetry.captures import (
    MIB,
    NO_REQUEST_BODY,
    NO_RESPONSE_BODY,
    SMALL,
    SMALL_IN_A_RUSH,
    Capture,
    Captures,
    Exchanged,
    compressor,
    pack,
)
from llamaswap.telemetry.inflight import Inflight
from llamaswap.telemetry.observation import Ending, Observation, Outcome
from llamaswap.telemetry.response_body import ResponseReader
from llamaswap.telemetry.row_log import log_capture, log_dispatch, log_row
from llamaswap.telemetry.shown_headers import HOST, without_secrets
from llamaswap.telemetry.store import Filter, Store, StoreFailed

logger = logging.getLogger(__name__)

T = TypeVar("T")

GATHER = 0.05
"""Seconds in which finished requests are gathered, to be stored in one transaction."""
LOT = 256
"""Requests worked on at a time."""
RUSH = 16
"""Requests at a time that are a rush."""
LAST_LOTS = 5.0
"""Seconds for what belongs into a store that is given up."""
MOST_WAITING = 10_000
"""Finished requests that may wait for a slow database; what comes then has no row."""
COMPLAIN_INTERVAL = 60.0
STREAM = "text/event-stream"


class _Fold(msgspec.Struct):
    """Body bytes to look at before the end."""

    reader: ResponseReader
    pieces: list[bytes]


class _Finish(msgspec.Struct):
    """An exchange to make a row of."""

    observation: Observation
    ending: Ending
    reader: ResponseReader | None
    """None: nothing of the body was looked at so far."""
    pieces: list[bytes]
    ended: float


class Entry(msgspec.Struct, eq=False):
    """A row made, with what its listeners may want to know."""

    row: ActivityRow
    """Its own id is 0."""
    waited: float
    """Seconds until the model was granted; the whole time if it never was."""
    capture: Capture | None = None
    id: int = 0
    """Of the stored row; 0: it could not be stored."""


@define(eq=False)
class Complaints:
    """Says at most once a minute that rows were lost, and how many."""

    _lost: int = 0
    _last: float = -COMPLAIN_INTERVAL

    def add(self, count: int, reason: object, now: float) -> None:
        """`count` rows are lost. `now`: seconds of any steady clock."""
        self._lost += count
        if now - self._last >= COMPLAIN_INTERVAL:
            logger.warning("activity of %d requests could not be stored: %s", self._lost, reason)
            self._lost, self._last = 0, now


@define(eq=False)
class Book:
    """The observer of the data plane. Event loop only, but for what `_work` does."""

    bus: EventBus
    inflight: Inflight
    captures: Captures
    store: Store
    last_row: int = 0
    """Id of the newest row."""
    listeners: list[Callable[[Entry], None]] = field(factory=list)
    """Told of every finished request that has a row, stored or not; must return at once."""
    _config: Config = field(factory=Config)
    _readers: dict[Observation, ResponseReader] = field(factory=dict, init=False)
    """Of bodies that were looked at before their end."""
    _waiting: list[_Fold | _Finish] = field(factory=list, init=False)
    _working: bool = field(default=False, init=False)
    _bell: trio.Event = field(factory=trio.Event, init=False)
    _worker: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(1), init=False)
    """One statement at a time: the store is used by one thread at a time."""
    _complaints: Complaints = field(factory=Complaints, init=False)
    _compress: Callable[[bytes], bytes] = field(factory=compressor, init=False)
    """Used by the worker alone: a compressor is not for two threads."""
    _held: int = field(default=0, init=False)
    """Compressed bytes of streams under way; the worker's own. They may take as much as what is
    kept of finished ones, so that long answers of many clients have a bound together."""

    @classmethod
    def open(cls, config: Config, bus: EventBus) -> Book:
        """Open the store and begin. Raises StoreFailed."""
        store = Store.open(config.store_path)
        captures = Captures(max(0, config.capture_buffer) * MIB)
        book = cls(bus, Inflight(bus), captures, store, config=config)
        book.last_row = store.last_id()
        if store.path is not None and not config.store_max_rows:
            count = store.count(Filter())
            logger.info("activity is kept in %s: %d rows so far, never pruned", store.path, count)
        return book

    # --- what the data plane tells ----------------------------------------------------------------

    def begin(self, observation: Observation) -> None:
        """A request has named a model."""
        if observation.local:
            observation.metadata["fifo_priority"] = str(self._priority(observation.model))
        observation.keep = observation.row
        self.inflight.add(observation)
        if logger.isEnabledFor(logging.DEBUG):
            log_dispatch(observation)

    def granted(self, observation: Observation) -> None:
        """It holds its model."""

    def answered(self, observation: Observation) -> None:
        """Its response head went out."""
        observation.keep = observation.row and self._wants_body(observation)
        self.inflight.answered(observation)

    def overfull(self, observation: Observation) -> None:
        """Look at what has come, so that it need not be kept as it is."""
        reader = self._readers.get(observation)
        if reader is None:
            reader = self._readers[observation] = self._reader(observation)
        elif reader.too_large:
            observation.keep = False
        pieces, observation.pieces = observation.pieces, []
        self._add(_Fold(reader, pieces))

    def finished(self, observation: Observation, ending: Ending) -> None:
        """It is over; everything that takes time comes later."""
        self.inflight.remove(observation)
        reader = self._readers.pop(observation, None)
        if not observation.row or _path(observation) in NO_REQUEST_BODY:
            observation.request_body = b""
        if not observation.row:
            return
        if len(self._waiting) >= MOST_WAITING:
            self._complaints.add(1, "the database is too slow", time.monotonic())
            return
        self._add(_Finish(observation, ending, reader, observation.pieces, time.time()))

    # --- the worker -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until cancelled; `flush` at the very end."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.inflight.run, name="requests in flight")
            while True:
                await self._bell.wait()
                if len(self._waiting) < LOT:
                    await trio.sleep(GATHER)
                await self._work_off()

    async def flush(self) -> None:
        """Store what waits."""
        while self._waiting or self._working:
            await self._work_off()
            await trio.sleep(0.001)

    async def close(self) -> None:
        """Close the store, after what the worker is doing."""
        await self.ask(Store.close)

    async def ask(self, question: Callable[[Store], T]) -> T:
        """Ask the store in the worker thread. Raises StoreFailed if the database is of no use."""
        try:
            return await trio.to_thread.run_sync(
                partial(question, self.store), limiter=self._worker
            )
        except sqlite3.Error as exc:
            raise StoreFailed(str(exc)) from exc

    async def reopen(self, config: Config) -> Store | None:
        """Open the store of a new configuration if it is another one. Raises StoreFailed."""
        if config.store_path == self.store.path:
            return None
        return await trio.to_thread.run_sync(Store.open, config.store_path)

    async def reconfigure(self, config: Config, store: Store | None) -> None:
        """Take a new configuration, and a store that `reopen` has opened for it."""
        self._config = config
        self.captures.resize(max(0, config.capture_buffer) * MIB)
        if store is not None:
            with trio.move_on_after(LAST_LOTS):
                await self.flush()
            old, self.store = self.store, store
            self.captures.clear()  # rows of that number are others now
            self.last_row = await self.ask(Store.last_id)
            await trio.to_thread.run_sync(old.close, limiter=self._worker)

    async def _work_off(self) -> None:
        if self._working:
            return
        self._working = True
        lot, self._waiting = self._waiting[:LOT], self._waiting[LOT:]
        if not self._waiting:
            self._bell = trio.Event()
        try:
            captures_wanted = self.captures.budget > 0
            work = partial(self._work, lot, self._config, captures_wanted)
            entries, error = await trio.to_thread.run_sync(work, limiter=self._worker)
        finally:
            self._working = False
        if error is not None:
            self._complaints.add(len(entries), error, time.monotonic())
        for entry in entries:
            self._tell(entry)

    def _tell(self, entry: Entry) -> None:
        for listener in self.listeners:
            listener(entry)
        if not entry.id:
            return
        self.last_row = entry.id
        capture = entry.capture
        if capture is not None and not self.captures.add(entry.id, capture):
            logger.warning("the capture of request %d is larger than captureBuffer", entry.id)
        if self.bus.subscribers:
            self.bus.publish(ActivityStored(entry.id))

    def _work(
        self, lot: list[_Fold | _Finish], config: Config, capture: bool
    ) -> tuple[list[Entry], Exception | None]:
        """In the worker thread: read bodies, make rows, store them."""
        made: list[Entry] = []
        # each compression gives up the interpreter's lock, and the event loop pays for that
        least = SMALL_IN_A_RUSH if len(lot) > RUSH else SMALL
        for job in lot:
            try:
                if isinstance(job, _Fold):
                    self._fold(job)
                else:
                    made.append(self._entry(job, least if capture else None))
            except Exception:  # a defect costs this row, not the books
                logger.exception("a request has no row because of a defect in llamaswap")
        if not made:
            return made, None
        try:
            ids = self.store.insert(entry.row for entry in made)
            self.store.prune_after_insert(config.metrics_max_in_memory, config.store_max_rows)
        except (sqlite3.Error, OSError) as exc:
            return made, exc
        for entry, row in zip(made, ids, strict=True):
            entry.id = row
        return made, None

    def _fold(self, job: _Fold) -> None:
        before = job.reader.kept
        job.reader.feed(job.pieces)
        self._held += job.reader.kept - before
        if self._held > self.captures.budget:
            self._held -= job.reader.kept
            job.reader.abridge()

    def _entry(self, job: _Finish, least: int | None) -> Entry:
        observation, ending = job.observation, job.ending
        reader = job.reader or self._reader(observation)
        self._held -= reader.kept
        reader.feed(job.pieces)
        reader.end(whole=ending.outcome is Outcome.COMPLETE)
        row = make_row(observation, ending, reader, job.ended)
        log_row(row, ending.outcome, reader)
        granted = observation.granted_at
        waited = ending.duration if granted is None else granted - observation.began
        kept = None if least is None else self._capture(job, reader, row, least)
        observation.request_body = b""  # maybe an upload; it goes, whoever still holds the rest
        return Entry(row, waited, kept)

    def _capture(
        self, job: _Finish, reader: ResponseReader, row: ActivityRow, least: int
    ) -> Capture | None:
        """What is kept of an exchange; None: nothing, by the rules."""
        observation = job.observation
        good = is_success(row.resp_status_code) and job.ending.outcome is Outcome.COMPLETE
        if good and (reader.unreadable or not observation.size):
            return None
        path = row.req_path
        request = None
        if observation.granted_at is not None and path not in NO_REQUEST_BODY:
            request = bytes(observation.request_body)
        response = None
        given_up = reader.too_large or reader.abridged
        wanted = good and path not in NO_RESPONSE_BODY and not given_up
        if wanted and not reader.stream:
            response = bytes(reader.body)
        exchanged = Exchanged(
            path,
            without_secrets(
                [(name, value) for key, name, value in observation.fields if key != HOST]
            ),
            request,
            without_secrets(observation.response_fields),
            response,
        )
        frames = reader.frames if wanted else ()
        capture = pack(exchanged, frames, self._compress, least=least)
        log_capture(row, len(request or b"") + reader.length, capture.size)
        return capture

    # --- what is worth keeping --------------------------------------------------------------------

    def _add(self, job: _Fold | _Finish) -> None:
        self._waiting.append(job)
        self._bell.set()

    def _reader(self, observation: Observation) -> ResponseReader:
        kind = content_type(observation).lower()
        wanted = self.captures.budget > 0 and _path(observation) not in NO_RESPONSE_BODY
        return ResponseReader(
            STREAM in kind,
            observation.framed,
            header_of(observation, b"content-encoding"),
            self._compress if wanted else None,
        )

    def _wants_body(self, observation: Observation) -> bool:
        """Whether anything may be found in the body, or it is captured."""
        if not is_success(observation.status):
            return True
        kind = content_type(observation).lower()
        if not kind or "json" in kind or "text" in kind:
            return True
        return self.captures.budget > 0 and _path(observation) not in NO_RESPONSE_BODY

    def _priority(self, model: str) -> int:
        routing = self._config.routing
        priorities: Mapping[str, int] = (
            routing.batch.priority if routing.scheduler == "batch" else routing.fifo.priority
        )
        return priorities.get(model, 0)


def _path(observation: Observation) -> str:
    return observation.sent_path or observation.path
