"""`GET /api/events`: what is so now, then everything that changes. Source: http-api §6.1.

Subscribing and taking the snapshots is one step, so nothing is lost or told twice. A reader that
cannot keep up loses log text first (marked where it is missing) and outdated states next; when
even that is not enough it gets fresh snapshots. It never delays anybody.
"""

from __future__ import annotations

import codecs
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import msgspec
import quart
import trio
from attrs import define, field, frozen
from quart_trio.wrappers import TrioResponse

from llamaswap.api.app import ControlPlane, Surroundings
from llamaswap.api.decisions import decision_body
from llamaswap.api.history import memory_facts, model_facts
from llamaswap.api.model_status import model_status
from llamaswap.config.placement import placements
from llamaswap.config.schema import Model, Routing
from llamaswap.errors import BadRequest
from llamaswap.telemetry.bus import (
    ActivityStored,
    BusEvent,
    BusFeed,
    ConfigReloaded,
    DecisionMade,
    ModelStateChanged,
    Overflowed,
    ProfileChanged,
    thinned,
)
from llamaswap.telemetry.inflight import (
    InflightRemoved,
    InflightUpserted,
    inflight_body,
    upsert_body,
)
from llamaswap.telemetry.loghub import LogFeed, LogSource
from llamaswap.telemetry.sampler import PerformanceSampled

HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache",
    "Connection": "keep-alive",
    "X-Content-Type-Options": "nosniff",
    "X-Accel-Buffering": "no",
}
KEEP_ALIVE = 15.0
"""Seconds of silence after which a comment shows that the stream is alive."""
RETRY = b"retry:2000\n\n"
BURST = 32
"""Events at once from which on the reader gets them in lots, without what is outdated."""
BURST_PAUSE = 0.1
USUAL = frozenset({"models", "logs", "activity", "inflight", "config", "profile"})
TOPICS = USUAL | {"perf", "decisions"}
"""`?topics=` may name any of these; without it the usual ones are sent."""


def add_routes(app: ControlPlane, around: Surroundings) -> None:
    """Stream events to whoever asks."""

    async def events() -> quart.Response:
        topics = chosen_topics(quart.request.args.get("topics"))
        if quart.request.method == "HEAD":
            return TrioResponse(b"", headers=HEADERS)
        stack = quart.request.exit_stack  # type: ignore[attr-defined]
        bell = trio.lowlevel.ParkingLot()
        logs = [
            LogText(source, stack.enter_context(source.follow(bell=bell)))
            for source in (around.hub.proxy, around.hub.upstream)
            if "logs" in topics
        ]
        feed = stack.enter_context(around.bus.subscribe(bell=bell))
        numbered = "topics" in quart.request.args
        stream = EventStream(around, topics, bell, feed, logs, numbered)
        seen = Position.read(quart.request.headers.get("Last-Event-ID", ""), around.boot)
        first = stream.first(seen)
        return quart.Response(_chunks(stream, first), headers=HEADERS)

    app.add_url_rule("/api/events", "events", events)


def chosen_topics(wish: str | None) -> frozenset[str]:
    """The topics of a `topics` parameter; None: the usual ones. Raises BadRequest."""
    if wish is None:
        return USUAL
    topics = frozenset(part for part in map(str.strip, wish.split(",")) if part)
    unknown = topics - TOPICS
    if unknown:
        raise BadRequest(
            f"unknown topic {', '.join(sorted(unknown))}; there are {', '.join(sorted(TOPICS))}"
        )
    return topics or USUAL


async def _chunks(stream: EventStream, first: bytes) -> AsyncIterator[bytes]:
    yield first
    while True:
        with trio.move_on_after(KEEP_ALIVE):
            while not (await stream.wait()):
                pass
        text, count = stream.take()
        if not text and stream.over:
            return
        yield text or b":\n\n"
        if count > BURST:
            await trio.sleep(BURST_PAUSE)


@frozen
class Position:
    """How far a reader has come; what a frame's `id` says."""

    proxy: int = 0
    upstream: int = 0
    """Bytes of each log."""
    row: int = 0
    """Id of the last row of activity."""
    moment: int = 0
    """Milliseconds since 1970, for decisions."""

    @classmethod
    def read(cls, text: str, boot: str) -> Position | None:
        """The position an `id` of this life of the program tells; None: it tells none."""
        life, *numbers = text.split(".")
        if life != boot or len(numbers) != 4 or not all(map(str.isdecimal, numbers)):
            return None
        proxy, upstream, row, moment = map(int, numbers)
        return cls(proxy, upstream, row, moment)

    def text(self, boot: str) -> str:
        """The `id` of a frame."""
        return f"{boot}.{self.proxy}.{self.upstream}.{self.row}.{self.moment}"


@define(eq=False)
class LogText:
    """One log source as text, in pieces that end with whole characters."""

    source: LogSource
    feed: LogFeed
    _decoder: codecs.IncrementalDecoder = field(
        factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )

    @property
    def position(self) -> int:
        """Bytes of the source that the client has as text."""
        return self.source.written - len(self._decoder.getstate()[0])

    def take(self) -> str:
        """What has come since the last time."""
        return self._decoder.decode(self.feed.take_now())

    def since(self, offset: int) -> str:
        """The history, without what lies before `offset` bytes since the source was made."""
        history = self.feed.take_now()
        known = max(0, offset - (self.source.written - len(history)))
        return self._decoder.decode(history[known:])


@define(eq=False)
class EventStream:
    """One client's stream."""

    around: Surroundings
    topics: frozenset[str]
    bell: trio.lowlevel.ParkingLot
    feed: BusFeed
    logs: list[LogText]
    numbered: bool
    """Whether frames carry an id to go on from; only for clients that name topics."""
    _announced: set[int] = field(factory=set)
    """Requests the client knows to be under way."""
    _placed: tuple[Routing, Mapping[str, Mapping[str, Any]]] | None = None
    """Where models stand in the routing, and the routing that says so."""

    @property
    def over(self) -> bool:
        """Whether nothing will come any more."""
        return self.feed.over

    async def wait(self) -> bool:
        """Wait for the bell unless something is there already; True: look."""
        if not self.feed.waits and not self.over and not any(log.feed.waits for log in self.logs):
            await self.bell.park()
        else:
            await trio.lowlevel.checkpoint()
        return self.over or self.feed.waits or any(log.feed.waits for log in self.logs)

    def first(self, seen: Position | None) -> bytes:
        """Histories and snapshots, in the order clients know."""
        parts = [RETRY] if self.numbered else []
        for log in self.logs:
            offset = 0
            if seen is not None:
                offset = seen.proxy if log.source is self.around.hub.proxy else seen.upstream
            parts.append(self._log(log, log.since(offset)))
        parts.extend(self._snapshots())
        if seen is not None:
            parts.extend(self._missed(seen))
        return self._joined(parts)

    def take(self) -> tuple[bytes, int]:
        """Frames for all that waits, and how many events that were."""
        events = self.feed.take_now()
        count = len(events)
        if count > BURST:
            events = [e for e in thinned(events) if not self._never_known(e)]
        parts = [self._log(log, text) for log in self.logs if (text := log.take())]
        for event in events:
            parts.extend(self._frames(event))
        return self._joined(parts), count

    # --- frames -----------------------------------------------------------------------------------

    def _frames(self, event: BusEvent) -> Iterator[bytes]:
        match event:
            case ModelStateChanged():
                yield from self._models()
            case ProfileChanged():
                yield from self._profile()
                yield from self._models()
            case ActivityStored(id=row):
                yield from self._frame("activity", "activity", {"id": row})
            case InflightUpserted(observation=observation):
                self._announced.add(observation.id)
                body = {"operation": "upsert", "request": upsert_body(event)}
                yield from self._frame("inflight", "inflight", body)
            case InflightRemoved(id=number):
                self._announced.discard(number)
                body = {"operation": "remove", "id": str(number)}
                yield from self._frame("inflight", "inflight", body)
            case ConfigReloaded():
                yield from self._reloaded(event)
            case DecisionMade():
                yield from self._frame("decisions", "decision", decision_body(event))
            case PerformanceSampled(body=body):
                yield from self._frame("perf", "perf", body)
            case Overflowed():
                yield from self._snapshots()
                yield from self._frame("activity", "activity", {"id": self.around.last_row()})
            case _:
                pass  # of other events clients know nothing

    def _snapshots(self) -> Iterator[bytes]:
        yield from self._models()
        yield from self._ui_config()
        yield from self._profile()
        entries = sorted(self.around.inflight.entries.values(), key=lambda o: (o.arrived, o.id))
        self._announced = {observation.id for observation in entries}
        requests = [inflight_body(observation) for observation in entries]
        body = {"operation": "snapshot", "requests": requests}
        yield from self._frame("inflight", "inflight", body)

    def _missed(self, seen: Position) -> Iterator[bytes]:
        """What happened while the client was away and no snapshot tells."""
        if seen.row < self.around.last_row():
            yield from self._frame("activity", "activity", {"id": self.around.last_row()})
        for decision in self.around.decisions.latest():
            if decision.time * 1000 >= seen.moment:
                yield from self._frame("decisions", "decision", decision_body(decision))

    def _models(self) -> Iterator[bytes]:
        around = self.around
        status = model_status(
            around.config, around.models.states(), around.inflight.waiting(), self._facts
        )
        yield from self._frame("models", "modelStatus", status)

    def _facts(self, model: Model) -> Mapping[str, Any]:
        around = self.around
        known = model_facts(model, around.models.facts(model.id), around.lifecycle)
        held = memory_facts(model.id, around.monitor.models)
        return {**known, **held, **self._placement(model.id)}

    def _placement(self, model: str) -> Mapping[str, Any]:
        routing = self.around.config.routing
        if self._placed is None or self._placed[0] is not routing:
            self._placed = (routing, placements(routing))
        return self._placed[1].get(model, {})

    def _profile(self) -> Iterator[bytes]:
        yield from self._frame("profile", "profileChanged", {"active": self.around.profile.name})

    def _ui_config(self) -> Iterator[bytes]:
        body = {"activity": {"session_id": list(self.around.config.session_id_headers)}}
        yield from self._frame("config", "uiConfig", body)

    def _reloaded(self, event: ConfigReloaded) -> Iterator[bytes]:
        if event.ok:
            yield from self._ui_config()
            yield from self._models()
        if self.numbered:  # the reference has no such message
            body = {"ok": event.ok, "generation": event.generation}
            yield from self._frame(
                "config", "configReloaded", body | ({} if event.ok else {"error": event.error})
            )

    def _log(self, log: LogText, text: str) -> bytes:
        body = {"source": log.source.name, "data": text}
        return b"".join(self._frame("logs", "logData", body))

    def _frame(self, topic: str, kind: str, body: Any) -> Iterator[bytes]:
        if topic not in self.topics:
            return
        inner = body if isinstance(body, bytes) else msgspec.json.encode(body)
        data = msgspec.json.encode({"type": kind, "data": inner.decode()})
        yield b"event:message\ndata:%b\n\n" % data

    def _joined(self, parts: list[bytes]) -> bytes:
        """All frames; the last one says how far the client has come with it."""
        text = b"".join(parts)
        if not self.numbered or not parts:
            return text
        hub = self.around.hub
        read = {log.source: log.position for log in self.logs}
        position = Position(
            read.get(hub.proxy, hub.proxy.written),
            read.get(hub.upstream, hub.upstream.written),
            self.around.last_row(),
            int(time.time() * 1000),
        )
        return b"%bid:%b\n\n" % (text[:-1], position.text(self.around.boot).encode("ascii"))

    def _never_known(self, event: BusEvent) -> bool:
        return isinstance(event, InflightRemoved) and event.id not in self._announced
