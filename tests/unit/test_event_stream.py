"""One client's stream of events: what it gets, in which order, and what it loses when it is slow.

Source: http-api §6.1, telemetry §1.3, §1.9 and part 9 (T13, T43, T44).
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock

from llamaswap.api.app import Surroundings
from llamaswap.api.events import (
    BURST,
    KEEP_ALIVE,
    TOPICS,
    USUAL,
    EventStream,
    LogText,
    Position,
    _chunks,
    chosen_topics,
)
from llamaswap.config.schema import Config, Group, Model, Peer, Profile, Routing
from llamaswap.errors import BadRequest
from llamaswap.nursery.facts import UpstreamFacts
from llamaswap.nursery.profile import ActiveProfile
from llamaswap.planning.events import ProcessState
from llamaswap.telemetry.book import Book
from llamaswap.telemetry.bus import (
    ActivityStored,
    BusEvent,
    ConfigReloaded,
    DecisionMade,
    EventBus,
    ModelStateChanged,
)
from llamaswap.telemetry.decisions import Decisions
from llamaswap.telemetry.lifecycle import Lifecycle, Transition
from llamaswap.telemetry.logging_setup import logging_to
from llamaswap.telemetry.loghub import LogHub
from llamaswap.telemetry.observation import Observation, Outcome
from llamaswap.telemetry.sampler import PerformanceSampled

CONFIG = Config(
    models={"m": Model(id="m"), "n": Model(id="n", unlisted=True)},
    peers={"west": Peer(id="west", proxy="http://h", models=("b", "a"))},
    profiles={"night": Profile(name="night", pins={})},
    routing=Routing(groups={"pair": Group(members=("m", "n"))}),
)


@define
class Models:
    """The states of all models."""

    known: dict[str, ProcessState] = field(factory=dict)

    def states(self) -> dict[str, ProcessState]:
        return self.known

    def facts(self, model: str) -> UpstreamFacts:
        return UpstreamFacts(pid=7, port=5800) if model in self.known else UpstreamFacts()


@define(eq=False)
class Scene:
    """Everything a stream is about."""

    bus: EventBus
    hub: LogHub
    book: Book
    models: Models
    profile: ActiveProfile
    decisions: Decisions
    around: Surroundings
    stack: ExitStack
    config: Config = CONFIG

    def open(self, topics: str | None = None, last_id: str = "") -> Reader:
        """A client that has just come."""
        wanted = chosen_topics(topics)
        bell = trio.lowlevel.ParkingLot()
        logs = [
            LogText(source, self.stack.enter_context(source.follow(bell=bell)))
            for source in (self.hub.proxy, self.hub.upstream)
            if "logs" in wanted
        ]
        feed = self.stack.enter_context(self.bus.subscribe(bell=bell))
        stream = EventStream(self.around, wanted, bell, feed, logs, topics is not None)
        seen = Position.read(last_id, self.around.boot)
        return Reader(_chunks(stream, stream.first(seen)))

    def begin(self, **facts: Any) -> Observation:
        """A request that has named a model."""
        made = Observation(
            self.book, facts.get("model", "m"), "/v1/completions", "POST",
            [(b"host", b"Host", b"h"), (b"cookie", b"Cookie", b"c")],
            "192.0.2.9", trio.CancelScope(), row=False, local=True,
        )  # fmt: skip
        self.book.begin(made)
        return made


@define(eq=False)
class Reader:
    """Reads chunks of a stream as messages."""

    chunks: AsyncIterator[bytes]
    text: str = ""
    last_id: str = ""

    async def chunk(self) -> list[tuple[str, Any]]:
        """The messages of the next chunk."""
        self.text = (await anext(self.chunks)).decode()
        found = []
        for line in self.text.splitlines():
            if line.startswith("data:"):
                outer = json.loads(line[5:])
                found.append((outer["type"], json.loads(outer["data"])))
            elif line.startswith("id:"):
                self.last_id = line[3:]
        return found

    async def types(self) -> list[str]:
        return [kind for kind, _ in await self.chunk()]


@pytest.fixture
def scene() -> Iterator[Scene]:
    with opened() as made:
        yield made


@contextmanager
def opened() -> Iterator[Scene]:
    bus, hub = EventBus(), LogHub()
    book = Book.open(CONFIG, bus)
    models, decisions = Models(), Decisions()
    profile = ActiveProfile(CONFIG.profiles, bus)
    unused = cast(Any, None)
    lifecycle = Lifecycle()
    lifecycle.note(Transition(1_000_000_000.0, "m", "starting"), "stopped")
    around = Surroundings(
        models=cast(Any, models), current_config=lambda: CONFIG, hub=hub, live=unused,
        decisions=decisions, profile=profile, hardware=unused, lifecycle=lifecycle,
        monitor=cast(Any, SimpleNamespace(models=())),
        counters=unused, bus=bus, inflight=book.inflight, book=book,
    )  # fmt: skip
    with ExitStack() as stack:
        yield Scene(bus, hub, book, models, profile, decisions, around, stack)
    book.store.close()


async def test_T43_the_first_messages_are_both_histories_even_if_empty(scene: Scene) -> None:
    first = await scene.open().chunk()
    assert first[:2] == [
        ("logData", {"source": "proxy", "data": ""}),
        ("logData", {"source": "upstream", "data": ""}),
    ]
    assert [kind for kind, _ in first[2:]] == [
        "modelStatus",
        "uiConfig",
        "profileChanged",
        "inflight",
    ]


async def test_T44_a_character_in_two_chunks_stays_whole(scene: Scene) -> None:
    scene.hub.proxy.write(b"caf\xc3")
    reader = scene.open()
    assert (await reader.chunk())[0] == ("logData", {"source": "proxy", "data": "caf"})
    scene.hub.proxy.write(b"\xa9\n")
    assert await reader.chunk() == [("logData", {"source": "proxy", "data": "é\n"})]
    scene.hub.proxy.write(b"\xff")
    assert await reader.chunk() == [("logData", {"source": "proxy", "data": "\ufffd"})]


async def test_T13_a_stalled_reader_makes_no_records_and_sees_where_text_is_missing(
    scene: Scene,
) -> None:
    with logging_to(scene.hub) as settings:
        settings.apply("debug", "")
        reader = scene.open()
        await reader.chunk()
        before = scene.hub.proxy.written
        line = "x" * 999
        for _ in range(4000):
            logging.getLogger("llamaswap.test").debug(line)
        written = scene.hub.proxy.written - before
        assert written == 4000 * len(f"[DEBUG] {line}\n")
        ((kind, body),) = await reader.chunk()
        text, _, rest = body["data"].partition("\n— ")
        missing = int(rest.split(" ")[0])
        assert kind == "logData"
        assert rest == f"{missing} bytes dropped —\n"
        assert len(text) + missing == written
        assert scene.hub.proxy.written - before == written


async def test_history_and_live_text_join_without_gap_or_doubling(scene: Scene) -> None:
    scene.hub.upstream.write(b"one ")
    reader = scene.open()
    scene.hub.upstream.write(b"two ")
    first = await reader.chunk()
    scene.hub.upstream.write(b"three")
    then = await reader.chunk()
    logs = [body for kind, body in first + then if kind == "logData"]
    said = [body["data"] for body in logs if body["source"] == "upstream"]
    assert "".join(said) == "one two three"


async def test_E06_silence_is_filled_with_comments(scene: Scene, autojump_clock: MockClock) -> None:
    reader = scene.open()
    await reader.chunk()
    began = trio.current_time()
    for number in range(1, 4):
        assert await reader.chunk() == []
        assert reader.text == ":\n\n"
        assert trio.current_time() - began == pytest.approx(number * KEEP_ALIVE)


async def test_model_status_has_local_models_then_peers(scene: Scene) -> None:
    scene.models.known["m"] = ProcessState.READY
    waiting = scene.begin(model="n")
    status = dict(await scene.open().chunk())["modelStatus"]
    assert [entry["id"] for entry in status] == ["m", "n", "west/a", "west/b"]
    assert [entry["state"] for entry in status] == ["ready", "stopped", "", ""]
    assert [entry["unlisted"] for entry in status] == [False, True, False, False]
    assert [entry["peerID"] for entry in status] == ["", "", "west", "west"]
    assert [entry.get("queued") for entry in status] == [0, 1, None, None]
    assert [entry.get("pid") for entry in status] == [7, None, None, None]
    assert status[0]["since"].startswith("2001-09-09T01:46:40")
    assert [entry.get("group") for entry in status] == ["pair", "pair", None, None]
    waiting.finish(Outcome.LEFT)


async def test_a_change_of_the_profile_is_told_before_the_models(scene: Scene) -> None:
    reader = scene.open()
    await reader.chunk()
    scene.profile.activate("night")
    told = await reader.chunk()
    assert [kind for kind, _ in told] == ["profileChanged", "modelStatus"]
    assert told[0][1] == {"active": "night"}
    scene.profile.activate("night")
    scene.bus.publish(ModelStateChanged("m", "ready"))
    assert await reader.types() == ["modelStatus"]


async def test_a_request_is_told_from_start_to_end_even_if_all_of_it_waits(scene: Scene) -> None:
    reader = scene.open()
    await reader.chunk()
    request = scene.begin()
    request.granted(1, "/v1/completions", b"{}")
    request.head(200, [(b"content-type", b"text/plain")], framed=False)
    request.take(b"abc")
    request.finish(Outcome.COMPLETE)
    told = [body for kind, body in await reader.chunk() if kind == "inflight"]
    assert [body["operation"] for body in told] == ["upsert", "upsert", "remove"]
    assert told[0]["request"]["resp_headers"] == {}
    assert told[1]["request"]["resp_headers"] == {"Content-Type": "text/plain"}
    assert told[0]["request"]["req_headers"] == {"Cookie": "[REDACTED]"}
    assert told[2] == {"operation": "remove", "id": "1"}


async def test_the_snapshot_lists_requests_by_their_arrival(scene: Scene) -> None:
    later, earlier = scene.begin(), scene.begin()
    earlier.arrived = later.arrived - 5
    snapshot = dict(await scene.open().chunk())["inflight"]
    assert snapshot["operation"] == "snapshot"
    assert [request["id"] for request in snapshot["requests"]] == ["2", "1"]


async def test_a_slow_reader_loses_what_is_outdated_and_never_a_removal(
    scene: Scene, autojump_clock: MockClock
) -> None:
    known = scene.begin()
    reader = scene.open()
    await reader.chunk()
    for _ in range(200):
        request = scene.begin()
        request.head(200, [], framed=False)
        request.finish(Outcome.COMPLETE)
        scene.bus.publish(ActivityStored(request.id))
    known.finish(Outcome.COMPLETE)
    last = scene.begin()
    told = await reader.chunk()
    assert [body for kind, body in told if kind == "activity"] == [{"id": 201}]
    inflight = [body for kind, body in told if kind == "inflight"]
    assert inflight[0] == {"operation": "remove", "id": str(known.id)}
    assert [body["request"]["id"] for body in inflight[1:]] == [str(last.id)]


async def test_a_reader_that_misses_too_much_gets_fresh_snapshots(
    scene: Scene, autojump_clock: MockClock
) -> None:
    reader = scene.open()
    await reader.chunk()
    requests = [scene.begin() for _ in range(1500)]
    assert len(requests) > BURST
    told = await reader.chunk()
    kinds = [kind for kind, _ in told]
    place = kinds.index("modelStatus")
    assert kinds[place : place + 5] == [
        "modelStatus",
        "uiConfig",
        "profileChanged",
        "inflight",
        "activity",
    ]
    snapshot = told[place + 3][1]
    assert snapshot["operation"] == "snapshot"
    assert len(snapshot["requests"]) == 1500


async def test_bursts_come_in_lots_with_pauses(scene: Scene, autojump_clock: MockClock) -> None:
    reader = scene.open()
    await reader.chunk()
    for number in range(BURST + 1):
        scene.bus.publish(ActivityStored(number))
    await reader.chunk()
    began = trio.current_time()
    scene.bus.publish(ActivityStored(99))
    assert await reader.chunk() == [("activity", {"id": 99})]
    assert trio.current_time() > began


async def test_a_reload_tells_what_may_have_changed(scene: Scene) -> None:
    usual, ours = scene.open(), scene.open("config,models")
    for reader in (usual, ours):
        await reader.chunk()
    scene.bus.publish(ConfigReloaded(2))
    assert await usual.types() == ["uiConfig", "modelStatus"]
    told = await ours.chunk()
    assert [kind for kind, _ in told] == ["uiConfig", "modelStatus", "configReloaded"]
    assert told[-1][1] == {"ok": True, "generation": 2}
    scene.bus.publish(ConfigReloaded(2, ok=False, error="line 3"))
    assert await ours.chunk() == [
        ("configReloaded", {"ok": False, "generation": 2, "error": "line 3"})
    ]


def decision(moment: float) -> DecisionMade:
    return DecisionMade(
        time=moment, kind="swap", model="m", evicted=(), reason="r", waiters=1, oldest_wait=0,
        estimate=1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("topic", "event", "kinds"),
    [
        ("models", ModelStateChanged("m", "ready"), ["modelStatus"]),
        ("activity", ActivityStored(1), ["activity"]),
        ("decisions", decision(5), ["decision"]),
        ("perf", PerformanceSampled(b'{"load_avg_1":1}'), ["perf"]),
    ],
)
async def test_topics_choose_what_is_sent(
    scene: Scene, topic: str, event: BusEvent, kinds: list[str]
) -> None:
    wanted, other = scene.open(topic), scene.open("profile")
    await wanted.chunk()
    await other.chunk()
    scene.bus.publish(event)
    scene.profile.activate("night")
    assert (await wanted.types())[: len(kinds)] == kinds
    assert await other.types() == ["profileChanged"]


async def test_without_topics_no_frame_carries_more_than_clients_know(scene: Scene) -> None:
    reader = scene.open()
    await reader.chunk()
    assert "id:" not in reader.text
    assert "retry:" not in reader.text
    ours = scene.open("models,logs")
    await ours.chunk()
    assert ours.text.startswith("retry:2000\n\n")
    assert ours.last_id


def test_unknown_topics_are_refused_with_those_there_are() -> None:
    with pytest.raises(BadRequest, match=r"unknown topic nonsense; there are activity, .*logs"):
        chosen_topics("models,nonsense")
    assert chosen_topics(None) == USUAL
    assert chosen_topics(" models , logs ") == {"models", "logs"}
    assert chosen_topics(",".join(TOPICS)) == TOPICS


async def test_a_client_that_comes_back_gets_what_it_missed_and_nothing_twice(
    scene: Scene,
) -> None:
    scene.hub.proxy.write("one é".encode())
    scene.decisions.add(decision(5))
    gone = scene.open("logs,activity,decisions")
    await gone.chunk()
    scene.hub.proxy.write(b"two\xc3")
    assert (await gone.chunk())[0][1]["data"] == "two"
    scene.hub.proxy.write(b"\xa9 three")
    scene.hub.upstream.write(b"up")
    scene.book.last_row = 7
    scene.decisions.add(decision(99_999_999_999.0))
    back = scene.open("logs,activity,decisions", gone.last_id)
    told = await back.chunk()
    assert told[:2] == [
        ("logData", {"source": "proxy", "data": "é three"}),
        ("logData", {"source": "upstream", "data": "up"}),
    ]
    assert told[2] == ("activity", {"id": 7})
    assert [body["time"][:4] for kind, body in told[3:] if kind == "decision"] == ["5138"]
    again = scene.open("logs,activity", back.last_id)
    assert [body["data"] for _, body in await again.chunk()] == ["", ""]


@pytest.mark.parametrize("last_id", ["", "x", "00000000.1.2.3.4", "a.b.c.d.e", "1.2.3"])
async def test_an_id_of_another_life_means_everything(scene: Scene, last_id: str) -> None:
    scene.hub.proxy.write(b"history")
    assert (await scene.open("logs", last_id).chunk())[0][1]["data"] == "history"


async def test_the_stream_ends_with_the_program_after_what_waits(scene: Scene) -> None:
    reader = scene.open()
    await reader.chunk()
    scene.bus.publish(ActivityStored(1))
    scene.hub.end()
    scene.bus.end()
    assert await reader.types() == ["activity"]
    with pytest.raises(StopAsyncIteration):
        await reader.chunk()
