"""What an exchange tells about itself, and how an operator ends it. Source: http-api §3.7, §7."""

from __future__ import annotations

import json

import pytest
import trio
from attrs import define, field

from llamaswap.errors import TooManyRequests
from llamaswap.telemetry.observation import FOLD, Ending, Observation, Observer, Outcome
from tests.integration.processes import settled
from tests.integration.wire_stage import Peer, Stage, get, ok, post, stage

CHAT = b'{"model":"m","messages":[]}'


@define(eq=False)
class Notebook:
    """An observer that writes everything down."""

    begun: list[Observation] = field(factory=list)
    changes: list[tuple[int, int]] = field(factory=list)
    """Run and status at each change."""
    overfull_calls: int = 0
    endings: list[Ending] = field(factory=list)

    def begin(self, observation: Observation) -> None:
        self.begun.append(observation)

    def granted(self, observation: Observation) -> None:
        self.changes.append((observation.run, observation.status))

    def answered(self, observation: Observation) -> None:
        self.changes.append((observation.run, observation.status))

    def overfull(self, observation: Observation) -> None:
        self.overfull_calls += 1

    def finished(self, observation: Observation, ending: Ending) -> None:
        self.endings.append(ending)

    @property
    def only(self) -> Observation:
        assert len(self.begun) == 1
        return self.begun[0]


def watched(here: Stage) -> Notebook:
    notebook = Notebook()
    observer: Observer = notebook
    here.site.observer = observer
    return notebook


async def answer_once(peer: Peer) -> None:
    await peer.request()
    await peer.send(ok(b'{"usage":{}}', "Content-Type: application/json"))


async def test_a_short_answer_is_told_from_the_name_to_the_last_byte() -> None:
    async with stage() as here:
        book = watched(here)
        await here.upstream(answer_once)
        client = await here.client()
        await client.send(post(b'{"model":"alias-of-m"}', "/v/chat/completions?x=1"))
        await client.response()
        await settled(lambda: bool(book.endings))
        seen = book.only
        assert (seen.model, seen.path, seen.sent_path) == (
            "m",
            "/v/chat/completions",
            "/chat/completions",
        )
        assert (seen.method, seen.remote, seen.row) == ("POST", "127.0.0.1", True)
        assert seen.request_body == b'{"model":"alias-of-m"}'
        assert (b"".join(seen.pieces), seen.framed, seen.size) == (b'{"usage":{}}', False, 12)
        assert book.changes == [(1, 0), (1, 200)]
        ending = book.endings[0]
        assert (ending.outcome, ending.status, ending.error) == (Outcome.COMPLETE, 200, None)
        assert ending.duration > 0


async def test_every_byte_of_a_stream_is_told_as_it_was_sent() -> None:
    chunk = b"data: " + b"x" * 994
    count = 300

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(count):
            await peer.send(b"3e8\r\n" + chunk + b"\r\n")
        await peer.send(b"0\r\n\r\n")

    async with stage() as here:
        book = watched(here)
        await here.upstream(script)
        client = await here.client()
        await client.send(post(CHAT))
        answer = await client.response()
        await settled(lambda: bool(book.endings))
        framed = (b"3e8\r\n" + chunk + b"\r\n") * count + b"0\r\n\r\n"
        assert answer.body == chunk * count
        assert b"".join(book.only.pieces) == framed
        assert book.only.framed
        assert book.only.size == len(framed)
        assert 1 <= book.overfull_calls <= len(framed) // FOLD


async def test_a_client_that_knows_no_chunks_gets_and_is_told_the_bare_content() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await peer.send(b"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n")

    async with stage() as here:
        book = watched(here)
        await here.upstream(script)
        client = await here.client()
        await client.send(post(CHAT).replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert (await client.read_to_end()).endswith(b"\r\n\r\nabcd")
        await settled(lambda: bool(book.endings))
        assert (b"".join(book.only.pieces), book.only.framed) == (b"abcd", False)


async def test_our_own_refusal_is_told_with_its_error() -> None:
    async with stage() as here:
        book = watched(here)
        client = await here.client()
        await client.send(post(b'{"model":"nobody"}'))
        assert (await client.response()).status == 404
        here.leases.error = TooManyRequests()
        await client.send(post(CHAT))
        assert (await client.response()).status == 429
        await settled(lambda: len(book.endings) == 2)
        assert [seen.model for seen in book.begun] == ["nobody", "m"]
        assert [e.outcome for e in book.endings] == [Outcome.REFUSED, Outcome.REFUSED]
        assert [e.status for e in book.endings] == [404, 429]
        assert str(book.endings[0].error) == "no router for requested model: nobody"


async def test_what_names_no_model_or_is_no_inference_is_not_told() -> None:
    async with stage() as here:
        book = watched(here)
        await here.upstream(answer_once)
        for request in (post(b"{}"), get("/nowhere"), get("/upstream/m/probe")):
            client = await here.client()
            await client.send(request)
            await client.response()
        assert book.begun == []


@pytest.mark.parametrize(
    ("request_bytes", "row"),
    [
        (post(b"", "/upstream/m/v1/embeddings"), True),
        (post(b"", "/upstream/m/props"), True),
        (get("/upstream/m/props"), False),
        (get("/props?model=m"), False),
    ],
)
async def test_inference_below_upstream_is_told_by_its_tail(
    request_bytes: bytes, row: bool
) -> None:
    async with stage() as here:
        book = watched(here)
        await here.upstream(answer_once)
        client = await here.client()
        await client.send(request_bytes)
        await client.response()
        await settled(lambda: bool(book.endings))
        assert book.only.row is row
        assert book.only.path in ("/v1/embeddings", "/props")


async def test_a_client_that_leaves_while_it_waits_is_told() -> None:
    async with stage() as here:
        book = watched(here)
        here.leases.gate = trio.Event()
        client = await here.client()
        await client.send(post(CHAT))
        await settled(lambda: here.leases.waiting == 1)
        await client.stream.aclose()
        await settled(lambda: bool(book.endings))
        assert (book.endings[0].outcome, book.endings[0].status) == (Outcome.LEFT, 0)
        assert book.only.granted_at is None


async def test_a_cut_answer_is_told_with_what_cut_it() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")

    async with stage() as here:
        book = watched(here)
        await here.upstream(script)
        client = await here.client()
        await client.send(post(CHAT))
        await client.read_to_end()
        await settled(lambda: bool(book.endings))
        assert (book.endings[0].outcome, book.endings[0].status) == (Outcome.CUT, 200)
        assert "closed in the middle" in str(book.endings[0].error)


async def test_an_operator_cancels_a_request_that_waits() -> None:
    async with stage() as here:
        book = watched(here)
        here.leases.gate = trio.Event()
        client = await here.client()
        await client.send(post(CHAT))
        await settled(lambda: here.leases.waiting == 1)
        book.only.cancel()
        answer = await client.response()
        error = json.loads(answer.body)["error"]
        assert (answer.status, error["code"]) == (499, "request_cancelled")
        assert await client.is_closed()
        assert here.leases.waiting == 0
        assert book.endings[0].outcome is Outcome.CANCELLED


async def test_an_operator_cancels_a_request_that_the_upstream_has_not_answered() -> None:
    asked, left = trio.Event(), trio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.read_to_end()
        left.set()

    async with stage() as here:
        book = watched(here)
        await here.upstream(script)
        client = await here.client()
        await client.send(post(CHAT))
        await asked.wait()
        book.only.cancel()
        assert (await client.response()).status == 499
        with trio.fail_after(5):
            await left.wait()
        assert here.leases.held == 0


async def test_an_operator_cuts_an_answer_that_has_begun() -> None:
    left = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        await peer.read_to_end()
        left.set()

    async with stage() as here:
        book = watched(here)
        await here.upstream(script)
        client = await here.client()
        await client.send(post(CHAT))
        await client.read_until(b"1\r\na\r\n")
        book.only.cancel()
        assert await client.read_to_end() == b""  # no last chunk: the client sees the cut
        with trio.fail_after(5):
            await left.wait()
        await settled(lambda: bool(book.endings))
        assert (book.endings[0].outcome, book.endings[0].status) == (Outcome.CANCELLED, 200)
