"""The books under every misfortune of a database: no request may notice. Source: telemetry §5.5."""

from __future__ import annotations

import base64
import gzip
import json
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock

from llamaswap.config.schema import Batch, Config, Fifo, Routing
from llamaswap.errors import BadGateway, ModelUnknown, TooManyRequests
from llamaswap.telemetry import store as store_module
from llamaswap.telemetry.activity import ActivityRow, message_in, phrase, shortened
from llamaswap.telemetry.book import Book, Complaints
from llamaswap.telemetry.bus import ActivityStored, BusFeed, EventBus
from llamaswap.telemetry.captures import capture_body, unpack
from llamaswap.telemetry.inflight import InflightUpserted
from llamaswap.telemetry.observation import FOLD, Observation, Outcome
from llamaswap.telemetry.store import Filter, Store, StoreFailed

USAGE = json.dumps({"usage": {"prompt_tokens": 3, "completion_tokens": 4}}).encode()


@define(eq=False)
class Desk:
    """A book at work, and who listens."""

    book: Book
    feed: BusFeed
    numbers: list[int] = field(factory=list)

    def request(
        self, path: str = "/v1/chat/completions", *, model: str = "m", local: bool = True
    ) -> Observation:
        made = Observation(
            self.book, model, path, "POST", [(b"x-api-key", b"X-Api-Key", b"k")],
            "192.0.2.9", trio.CancelScope(), row=True, local=local,
        )  # fmt: skip
        self.book.begin(made)
        return made

    def answered(
        self,
        body: bytes = USAGE,
        kind: bytes = b"application/json",
        *,
        status: int = 200,
        path: str = "/v1/chat/completions",
        coding: bytes = b"",
        outcome: Outcome = Outcome.COMPLETE,
    ) -> Observation:
        """A whole exchange."""
        made = self.request(path)
        made.granted(1, path, b'{"model":"m"}')
        headers = [(b"content-type", kind)]
        if coding:
            headers.append((b"content-encoding", coding))
        made.head(status, headers, framed=False)
        made.take(body)
        made.finish(outcome)
        return made

    async def row(self, **which: Any) -> ActivityRow:
        """The newest row, once everything is stored."""
        await self.book.flush()
        page = await self.book.ask(lambda store: store.list(Filter(**which), limit=1))
        return page.rows[0]

    async def count(self) -> int:
        await self.book.flush()
        return await self.book.ask(lambda store: store.count(Filter()))

    def stored(self) -> list[int]:
        """Rows that were told."""
        events = [e for e in self.feed.take_now() if isinstance(e, ActivityStored)]
        return [event.id for event in events]


@asynccontextmanager
async def desk(**keys: Any) -> AsyncIterator[Desk]:
    bus = EventBus()
    book = Book.open(Config(**keys), bus)
    with bus.subscribe(limit=10_000) as feed:
        yield Desk(book, feed)
        await book.close()


async def test_T93_a_full_disk_costs_the_row_its_event_and_its_capture_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with desk(store_path=str(tmp_path / "a.db")) as at:
        await at.book.ask(lambda store: store._db.execute("PRAGMA max_page_count = 1"))
        big = at.answered(json.dumps({"error": "e"}).encode(), status=500)
        assert big.id == 1
        await fill(at)
        assert "could not be stored" in caplog.text
        assert "full" in caplog.text
        lost = len(at.stored())
        await at.book.ask(lambda store: store._db.execute("PRAGMA max_page_count = 1000000"))
        at.answered()
        row = await at.row()
        assert row.resp_status_code == 200
        assert at.stored() == [row.id]
        assert row.id in at.book.captures.ids
        assert lost < 4000


LEFT, CUT = Outcome.LEFT, Outcome.CUT
SSE = b"text/event-stream"


@pytest.mark.parametrize(
    ("exchange", "level", "text"),
    [
        ({}, "", ""),
        ({"body": b"RIFF", "kind": b"audio/wav"}, "", ""),
        ({"body": b"data: {}\n\ndata: [DONE]\n\n", "kind": SSE}, "", ""),
        ({"status": 204, "body": b"", "kind": b""}, "", ""),
        ({"status": 503, "body": b'{"error": "no\\nroom"}'}, "WARNING",
         "<m> /v1/chat/completions answered 503, so its row is partial: no\\nroom"),
        ({"status": 404, "body": b"what", "kind": b"text/plain"}, "WARNING",
         "answered 404, so its row is partial: 404 Not Found"),
        ({"body": b"{nope"}, "WARNING", "response body tells no tokens: it is no JSON"),
        ({"body": b""}, "WARNING", "response body tells no tokens: it is empty"),
        ({"body": b"", "kind": b""}, "WARNING", "response body tells no tokens: it is empty"),
        ({"body": b'data: {"usage": {\n\n', "kind": SSE}, "WARNING",
         "response body tells no tokens: events with figures are no JSON"),
        ({"coding": b"gzip"}, "WARNING", "response body is unreadable: "),
        ({"body": b'{"usa', "outcome": LEFT}, "INFO", "client disconnected after "),
        ({"body": b'{"usa', "outcome": CUT}, "", ""),  # the data plane has said so
    ],
)  # fmt: skip
async def test_the_log_says_what_keeps_a_row_from_telling_everything(
    exchange: dict[str, Any], level: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "llamaswap.telemetry")
    async with desk() as at:
        at.answered(**exchange)
        await at.book.flush()
    assert [record.levelname for record in caplog.records] == ([level] if level else [])
    assert text in caplog.text


async def test_who_debugs_reads_where_a_request_goes_and_what_its_capture_takes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", "llamaswap.telemetry")
    async with desk() as at:
        made = at.request("/v1/x\n[INFO] fake")
        made.granted(1, "/v1/x", b"{}" * 5000)
        made.head(200, [(b"content-type", b"application/json")], framed=False)
        made.take(USAGE)
        made.finish(Outcome.COMPLETE)
        await at.book.flush()
        at.request(local=False)
    dispatched, captured, peer = (record.getMessage() for record in caplog.records)
    assert dispatched == r"<m> POST /v1/x\n[INFO] fake goes to a local model"
    assert captured.startswith(f"<m> /v1/x: captured {10_000 + len(USAGE)} bytes as ")
    assert peer.endswith("goes to a peer, or nowhere")


async def fill(at: Desk) -> None:
    """Rows until the database takes no more."""
    for _ in range(40):
        for _ in range(100):
            at.answered()
        await at.book.flush()
        if at.book._complaints._last > 0:
            return
    raise AssertionError("the database never became full")


async def test_T93_a_store_that_raises_is_tried_again_for_the_next_row(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with desk() as at:
        insert = Store.insert

        def broken(store: Store, rows: object) -> list[int]:
            raise sqlite3.OperationalError("disk full")

        monkeypatch.setattr(Store, "insert", broken)
        at.answered()
        await at.book.flush()
        assert (at.stored(), at.book.captures.all_ids(), at.book.last_row) == ([], [], 0)
        assert "activity of 1 requests could not be stored: disk full" in caplog.text
        monkeypatch.setattr(Store, "insert", insert)
        at.answered()
        await at.book.flush()
        assert at.stored() == [1]


async def test_a_locked_database_delays_no_request_and_goes_on_when_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store_module, "BUSY_TIMEOUT", 0.05)
    path = tmp_path / "a.db"
    async with desk(store_path=str(path)) as at:
        at.answered()
        assert await at.count() == 1
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        at.answered()  # returns at once, whatever the database does
        await at.book.flush()
        assert "locked" in caplog.text
        other.execute("ROLLBACK")
        other.close()
        at.answered()
        assert await at.count() == 2


async def test_a_database_that_becomes_corrupt_costs_rows_and_answers_with_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.db"
    async with desk(store_path=str(path)) as at:
        for _ in range(50):
            at.answered()
        assert await at.count() == 50
        await at.book.ask(lambda store: store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)"))
        await at.book.ask(lambda store: store._db.execute("PRAGMA cache_size = 0"))
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (size - 4096))
        with pytest.raises(StoreFailed):
            await at.book.ask(lambda store: store.list(Filter()))
        at.answered()
        await at.book.flush()
        assert "could not be stored" in caplog.text


async def test_a_file_that_vanished_does_not_stop_the_books(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with desk(store_path=str(path)) as at:
        at.answered()
        assert await at.count() == 1
        for file in tmp_path.iterdir():
            file.unlink()
        at.answered()
        await at.book.flush()


async def test_a_defect_in_reading_costs_one_row(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with desk() as at:
        monkeypatch.setattr("llamaswap.telemetry.book.make_row", lambda *told: 1 / 0)
        at.answered()
        await at.book.flush()
        assert "because of a defect" in caplog.text
        monkeypatch.undo()
        at.answered()
        assert await at.count() == 1


def test_complaints_come_once_a_minute_with_their_number(
    caplog: pytest.LogCaptureFixture,
) -> None:
    complaints = Complaints()
    for second in (0, 1, 30, 59.9):
        complaints.add(2, "full", second)
    assert [r.getMessage() for r in caplog.records] == [
        "activity of 2 requests could not be stored: full"
    ]
    complaints.add(1, "full", 61)
    assert caplog.records[-1].getMessage() == "activity of 7 requests could not be stored: full"


async def test_rows_wait_bounded_for_a_slow_database(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("llamaswap.telemetry.book.MOST_WAITING", 5)
    async with desk() as at:
        for _ in range(9):
            at.answered()
        assert len(at.book._waiting) == 5
        assert "too slow" in caplog.text
        assert await at.count() == 5


async def test_many_rows_are_one_transaction_and_come_in_order() -> None:
    async with desk() as at:
        for number in range(600):
            at.answered(path=f"/p{number}")
        assert await at.count() == 600
        page = await at.book.ask(lambda s: s.list(Filter(), limit=999, descending=False))
        assert [row.req_path for row in page.rows] == [f"/p{n}" for n in range(600)]
        assert at.stored() == list(range(1, 601))


async def test_memory_keeps_as_many_rows_as_configured() -> None:
    async with desk(metrics_max_in_memory=3) as at:
        for _ in range(10):
            at.answered()
        assert await at.count() == 3


# --- what a row says ------------------------------------------------------------------------------


async def test_T94_a_client_that_aborts_a_stream_leaves_a_row_with_what_was_seen() -> None:
    async with desk() as at:
        request = at.request()
        request.granted(1, "/v1/chat/completions", b"{}")
        request.head(200, [(b"Content-Type", b"text/event-stream; charset=utf-8")], framed=True)
        event = b'data: {"usage":{"prompt_tokens":9}}\n\n'
        request.take(b"%x\r\n%b\r\n" % (len(event), event))
        request.take(b"5\r\nda")
        request.finish(Outcome.LEFT)
        row = await at.row()
        assert (row.resp_status_code, row.error, row.tokens.input) == (
            499,
            "client disconnected",
            9,
        )
        assert row.resp_content_type == "text/event-stream; charset=utf-8"


@pytest.mark.parametrize(
    ("error", "status", "message", "accepted"),
    [
        (ModelUnknown("no router for requested model: x"), 404, "no router for", True),
        (TooManyRequests(), 429, "Too many requests", False),
        (BadGateway("m: it closed"), 502, "m: it closed", True),
    ],
)
async def test_refusals_have_rows_too(
    error: Any, status: int, message: str, accepted: bool
) -> None:
    async with desk() as at:
        request = at.request()
        request.head(status, [(b"Content-Type", b"application/json")], framed=False)
        request.take(b'{"error":{"message":"not this"}}')
        request.finish(Outcome.REFUSED, error)
        row = await at.row()
        assert (row.resp_status_code, row.req_path) == (status, "/v1/chat/completions")
        assert row.error.startswith(message)
        assert ("fifo_priority" in row.metadata) is accepted
        capture = at.book.captures.get(row.id)
        assert capture is not None
        kept = unpack(capture)
        assert (kept.req_body, kept.resp_body) == (None, None)
        assert kept.req_headers == [(b"X-Api-Key", b"[REDACTED]")]


async def test_a_cut_answer_says_what_cut_it() -> None:
    async with desk() as at:
        request = at.request()
        request.granted(1, "/v1/chat/completions", b"{}")
        request.head(200, [], framed=False)
        request.finish(Outcome.CUT, BadGateway("the upstream closed in the middle"))
        row = await at.row()
        assert (row.resp_status_code, row.error) == (200, "the upstream closed in the middle")


async def test_a_cancelled_request_says_so() -> None:
    async with desk() as at:
        request = at.request()
        assert at.book.inflight.cancel(request.id)
        request.finish(Outcome.LEFT)
        assert not at.book.inflight.cancel(request.id)
        row = await at.row()
        assert (row.resp_status_code, row.error) == (499, "request cancelled")


async def test_an_undecodable_answer_says_why_and_is_not_captured() -> None:
    async with desk() as at:
        at.answered(b"no gzip", coding=b"gzip")
        row = await at.row()
        assert row.error.startswith("response decompression failed: ")
        assert (row.tokens.input, at.book.captures.all_ids()) == (0, [])
        at.answered(b"no gzip", coding=b"gzip", status=500)
        assert (await at.row()).error.startswith("response decode failed: ")


async def test_an_empty_success_is_not_captured() -> None:
    async with desk() as at:
        at.answered(b"")
        row = await at.row()
        assert (row.resp_status_code, at.book.captures.all_ids()) == (200, [])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":{"message":"a"},"message":"b"}', "a"),
        (b'{"error":"a","message":"b"}', "a"),
        (b'{"error":{"message":"  "},"message":"b"}', "b"),
        (b'{"message":7,"detail":"c"}', "c"),
        (b'{"detail":[{"msg":"no"}]}', ""),
        (b"[1]", ""),
        (b"<html>", ""),
        (b"", ""),
    ],
)
def test_where_an_error_says_its_message(body: bytes, message: str) -> None:
    assert message_in(body) == message


def test_errors_without_a_message_are_named_by_their_status() -> None:
    assert (phrase(502), phrase(599)) == ("502 Bad Gateway", "HTTP 599")


def test_long_errors_are_cut_at_a_whole_character() -> None:
    assert shortened("é" * 250) == "é" * 250
    assert shortened("é" * 251) == "é" * 250 + "..."
    assert shortened("x" + "é" * 250) == "x" + "é" * 249 + "..."


async def test_the_time_the_server_says_it_worked_is_the_least_duration() -> None:
    async with desk() as at:
        at.answered(b'{"timings":{"prompt_n":1,"prompt_ms":200,"predicted_ms":1250.5}}')
        assert (await at.row()).duration_ms == 1450


@pytest.mark.parametrize(
    ("routing", "priority"),
    [
        (Routing(), "0"),
        (Routing(fifo=Fifo(priority={"m": 7})), "7"),
        (Routing(scheduler="batch", batch=Batch(priority={"m": -2})), "-2"),
    ],
)
async def test_rows_tell_the_priority_that_is_in_force(routing: Routing, priority: str) -> None:
    async with desk(routing=routing) as at:
        at.answered()
        assert (await at.row()).metadata == {"fifo_priority": priority}


async def test_a_model_of_a_peer_has_no_priority() -> None:
    async with desk() as at:
        request = at.request(model="east/solo", local=False)
        request.finish(Outcome.LEFT)
        row = await at.row()
        assert (row.model, row.metadata) == ("east/solo", {})


async def test_a_long_stream_is_read_while_it_goes_on_and_captured_whole() -> None:
    async with desk() as at:
        request = at.request()
        request.granted(1, "/v1/chat/completions", b"{}")
        request.head(200, [(b"content-type", b"text/event-stream")], framed=False)
        event = b'data: {"choices":[{"delta":{"content":"word"}}]}\n\n'
        sent = b""
        most = 0
        for _ in range(20_000):
            request.take(event)
            sent += event
            most = max(most, sum(map(len, request.pieces)))
        last = b'data: {"usage":{"completion_tokens":20000}}\n\n'
        request.take(last)
        await at.book.flush()
        request.finish(Outcome.COMPLETE)
        row = await at.row()
        assert row.tokens.output == 20_000
        assert most <= FOLD + len(event)
        capture = at.book.captures.get(row.id)
        assert capture is not None
        assert unpack(capture).resp_body == sent + last
        assert capture.size < len(sent) / 10


async def test_streams_under_way_have_a_bound_together() -> None:
    async with desk() as at:
        at.book.captures.resize(20_000)
        streams = [at.request() for _ in range(8)]
        for stream in streams:
            stream.granted(1, "/v1/chat/completions", b"{}")
            stream.head(200, [(b"content-type", b"text/event-stream")], framed=False)
        for turn in range(200):
            for number, stream in enumerate(streams):
                noise = random.Random(turn * 8 + number).randbytes(300).hex()  # hard to compress
                stream.take(f"data: {noise}\n\n".encode())
            await at.book.flush()
            assert at.book._held <= 20_000
        for stream in streams:
            stream.take(b'data: {"usage":{"completion_tokens":7}}\n\n')
            stream.finish(Outcome.COMPLETE)
        row = await at.row()
        assert at.book._held == 0
        assert (await at.count(), row.tokens.output) == (8, 7)
        capture = at.book.captures.get(row.id)
        assert capture is not None
        assert unpack(capture).resp_body is None


async def test_what_nobody_will_look_at_is_not_kept() -> None:
    async with desk() as at:
        request = at.request("/v1/audio/speech")
        request.granted(1, "/v1/audio/speech", b"{}")
        request.head(200, [(b"content-type", b"audio/mpeg")], framed=False)
        request.take(b"x" * 10_000)
        assert (request.pieces, request.size) == ([], 10_000)
        request.finish(Outcome.COMPLETE)
        assert (await at.row()).tokens.input == 0


async def test_without_captures_audio_is_never_kept() -> None:
    async with desk(capture_buffer=0) as at:
        request = at.request("/v1/other")
        request.granted(1, "/v1/other", b"{}")
        request.head(200, [(b"content-type", b"image/png")], framed=False)
        request.take(b"x" * 10_000)
        assert request.pieces == []
        request.finish(Outcome.COMPLETE)
        at.answered()
        await at.row()
        assert at.book.captures.all_ids() == []


async def test_a_captured_answer_is_decoded() -> None:
    async with desk() as at:
        at.answered(gzip.compress(USAGE), coding=b"gzip")
        row = await at.row()
        capture = at.book.captures.get(row.id)
        assert capture is not None
        kept = unpack(capture)
        assert kept.resp_body == USAGE
        assert "Content-Encoding" not in capture_body(row.id, kept)["resp_headers"]
        assert base64.b64encode(kept.req_body or b"") == base64.b64encode(b'{"model":"m"}')


async def test_a_listener_hears_of_every_row_even_of_those_that_are_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with desk() as at:
        heard: list[tuple[int, int, float]] = []
        at.book.listeners.append(
            lambda entry: heard.append((entry.id, entry.row.tokens.output, entry.waited))
        )
        at.answered()
        await at.book.flush()

        def broken(store: Store, rows: object) -> list[int]:
            raise sqlite3.OperationalError("disk full")

        monkeypatch.setattr(Store, "insert", broken)
        at.answered()
        await at.book.flush()
        assert [(row, output) for row, output, _ in heard] == [(1, 4), (0, 4)]
        assert all(waited >= 0 for _, _, waited in heard)


# --- in flight ------------------------------------------------------------------------------------


async def test_bodies_are_told_at_most_four_times_a_second_and_the_last_growth_too() -> None:
    async with desk() as at:
        request = at.request()
        request.head(200, [], framed=False)
        at.feed.take_now()
        sizes = []
        clock = request.began + 100.0
        at.book.inflight._told[request.id] = (clock, 0)
        for step in range(20):
            if step < 10:
                request.take(b"abc")
            at.book.inflight.look(clock + step * 0.05)
            sizes += [e.size for e in at.feed.take_now() if isinstance(e, InflightUpserted)]
        assert sizes == [18, 30]
        request.finish(Outcome.COMPLETE)


async def test_nobody_watching_costs_no_event() -> None:
    bus = EventBus()
    book = Book.open(Config(), bus)
    at = Desk(book, BusFeed(1))
    request = at.request()
    request.finish(Outcome.LEFT)
    assert book.inflight._told == {}
    assert book.inflight.entries == {}
    await book.flush()
    await book.close()


async def test_the_ticker_tells_of_growth(autojump_clock: MockClock) -> None:
    async with desk() as at:
        request = at.request()
        at.feed.take_now()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(at.book.inflight.run)
            at.book.inflight._told[request.id] = (0.0, 0)
            request.take(b"abc")
            await trio.sleep(1)
            assert [e.size for e in at.feed.take_now() if isinstance(e, InflightUpserted)] == [3]
            nursery.cancel_scope.cancel()
        request.finish(Outcome.LEFT)


# --- reload ---------------------------------------------------------------------------------------


async def test_T97_the_same_path_keeps_rows_and_captures() -> None:
    async with desk() as at:
        at.answered()
        await at.book.flush()
        config = Config(capture_buffer=1)
        assert await at.book.reopen(config) is None
        await at.book.reconfigure(config, None)
        assert await at.count() == 1
        assert at.book.captures.all_ids() == [1]


async def test_T97_another_path_is_a_new_store_and_the_old_one_is_closed(tmp_path: Path) -> None:
    async with desk() as at:
        at.answered()
        old = at.book.store
        config = Config(store_path=str(tmp_path / "b.db"))
        store = await at.book.reopen(config)
        assert store is not None
        await at.book.reconfigure(config, store)
        assert (await at.count(), at.book.last_row, at.book.captures.all_ids()) == (0, 0, [])
        with pytest.raises(sqlite3.ProgrammingError):
            old.last_id()
        at.answered()
        assert await at.count() == 1
