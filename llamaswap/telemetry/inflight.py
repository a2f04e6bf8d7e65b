"""Which requests are under way now, told to whoever watches. Source: http-api §7.3."""

from __future__ import annotations

import time
from collections.abc import Hashable
from datetime import UTC, datetime
from itertools import count
from typing import Any

import trio
from attrs import define, field, frozen

from llamaswap.telemetry.bus import BusEvent, EventBus
from llamaswap.telemetry.observation import Headers, Observation
from llamaswap.telemetry.shown_headers import shown_headers

PROGRESS_INTERVAL = 0.25
"""Seconds between two messages about the body of one request, at least."""
LOOK = 0.05
"""Seconds between two looks at all requests, while somebody watches."""


@frozen(eq=False)
class InflightUpserted(BusEvent):
    """A request began, its response head went out, or its body grew."""

    observation: Observation
    response_fields: Headers
    size: int
    """What was so at that moment; readers come later."""

    @property
    def crowded_subject(self) -> Hashable:
        """Only the newest of one request matters; none, once it was removed."""
        return ("inflight", self.observation.id)


@frozen(eq=False)
class InflightRemoved(BusEvent):
    """A request is over: the last event about it."""

    id: int

    @property
    def crowded_subject(self) -> Hashable:
        """Takes the place of what was said before."""
        return ("inflight", self.id)


@define(eq=False)
class Inflight:
    """All observed requests under way, by id. Event loop only."""

    bus: EventBus
    entries: dict[int, Observation] = field(factory=dict, init=False)
    _numbers: count[int] = field(factory=lambda: count(1), init=False)
    _told: dict[int, tuple[float, int]] = field(factory=dict, init=False)
    """When a request's size was last told, and the size; only of those that somebody watched."""

    def add(self, observation: Observation) -> None:
        """Number a request and count it in."""
        observation.id = next(self._numbers)
        self.entries[observation.id] = observation
        if self.bus.subscribers:
            self._tell(observation, time.monotonic())

    def answered(self, observation: Observation) -> None:
        """Its response head went out."""
        if self.bus.subscribers:
            self._tell(observation, time.monotonic())

    def remove(self, observation: Observation) -> None:
        """Count a request out."""
        del self.entries[observation.id]
        self._told.pop(observation.id, None)
        if self.bus.subscribers:
            self.bus.publish(InflightRemoved(observation.id))

    def cancel(self, number: int) -> bool:
        """End a request on an operator's behalf. False: there is none of that number."""
        observation = self.entries.get(number)
        if observation is None:
            return False
        observation.cancel()
        return True

    def waiting(self) -> dict[str, int]:
        """How many requests wait for their model, by model."""
        counts: dict[str, int] = {}
        for observation in self.entries.values():
            if observation.granted_at is None:
                counts[observation.model] = counts.get(observation.model, 0) + 1
        return counts

    async def run(self) -> None:
        """Tell how bodies grow, until cancelled. Costs nothing while nobody watches."""
        while True:
            await trio.sleep(LOOK if self.bus.subscribers else PROGRESS_INTERVAL)
            if self.bus.subscribers:
                self.look(time.monotonic())

    def look(self, now: float) -> None:
        """Tell of every body that has grown since it was told, if that was long enough ago."""
        for number, observation in self.entries.items():
            then, size = self._told.get(number, (0.0, 0))
            if observation.size != size and now - then >= PROGRESS_INTERVAL:
                self._tell(observation, now)

    def _tell(self, observation: Observation, now: float) -> None:
        self._told[observation.id] = now, observation.size
        self.bus.publish(
            InflightUpserted(observation, observation.response_fields, observation.size)
        )


def upsert_body(event: InflightUpserted) -> dict[str, Any]:
    """One request as JSON, as it was at the time of the event."""
    body = inflight_body(event.observation)
    body["resp_headers"] = shown_headers(event.response_fields)
    body["resp_bytes"] = event.size
    return body


def inflight_body(observation: Observation) -> dict[str, Any]:
    """One request as JSON, as it is now."""
    body: dict[str, Any] = {
        "id": str(observation.id),
        "timestamp": nanosecond_text(observation.arrived),
        "model": observation.model,
        "req_path": observation.path,
        "method": observation.method,
        "req_headers": shown_headers((name, value) for _, name, value in observation.fields),
        "remote_ip": observation.remote,
        "resp_headers": shown_headers(observation.response_fields),
        "resp_bytes": observation.size,
        "elapsed_ms": int((time.monotonic() - observation.began) * 1000),
        "waiting": observation.granted_at is None,
    }
    if observation.metadata:
        body["metadata"] = observation.metadata
    return body


def nanosecond_text(moment: int) -> str:
    """RFC 3339 in UTC; `moment`: nanoseconds since 1970."""
    seconds, nanos = divmod(moment, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanos:09d}Z"
