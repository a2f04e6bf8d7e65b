"""A streaming request's time before its upstream answers: loading text, keep-alive comments.

The request itself goes its way undisturbed: a task of its own writes to the client, and whoever has
the upstream's response head waits for it to put its pen down. Source: http-api §5.1, §5.3.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio
from attrs import define, field

from llamaswap.config.schema import Model
from llamaswap.errors import LlamaswapError, RequestCancelled
from llamaswap.nursery.lease import Lease
from llamaswap.proxy.event_stream import COMMENT, EventStream
from llamaswap.proxy.http1 import UpstreamViolation
from llamaswap.proxy.loading import Narration
from llamaswap.proxy.wire import Wire

if TYPE_CHECKING:
    from llamaswap.proxy.exchange import Exchange

NARRATED = "/v1/chat/completions"
LAST_WORDS = 2.0
"""Seconds to tell a client in its stream that an operator cancelled its request."""


@define(eq=False)
class Prelude:
    """What one client is shown before its upstream answers; also its place in the queue."""

    exchange: Exchange
    beat: float
    """Seconds of silence after which a comment is sent; 0: none are."""
    stream: EventStream
    narration: Narration | None
    """None: the model is ready, or loading is not shown."""
    _may_tell: trio.Event = field(factory=trio.Event)
    """Set once the request is admitted, or nothing is to be told any more."""
    _answered: trio.Event = field(factory=trio.Event)
    """Set once the upstream's head is there, or there will be none."""
    _silent: trio.Event = field(factory=trio.Event)

    def admitted(self) -> None:
        """No clean refusal follows any more. Called by the run loop."""
        self._may_tell.set()

    def position(self, place: int, wait: float) -> None:
        """The request's place in the queue. Called by the run loop."""
        if self.narration is not None:
            self.narration.place(place, wait)

    async def lead(self, model: str, carry: Callable[[Lease], Awaitable[None]]) -> None:
        """Lease `model` and `carry` the request, telling its client meanwhile.

        Raises what leasing and carrying raise; errors that came after the stream was opened are
        told in it, and do not raise.
        """
        failure: LlamaswapError | None = None
        cut: OSError | UpstreamViolation | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tell)
                try:
                    async with self.exchange.site.leases.lease(model, self) as lease:
                        self._grant()
                        await carry(lease)
                except LlamaswapError as exc:
                    failure = exc
                except (OSError, UpstreamViolation) as exc:
                    cut = exc
                self._hush(failed=failure is not None)
            if failure is not None and self.stream.opened:
                await self.stream.fail(failure)
                if self.exchange.watch is not None:  # the books keep what a status would have said
                    self.exchange.watch.head(failure.status, (), framed=False)
                self.exchange.told, failure = failure, None
        finally:
            await self._say_cancelled()
        if failure is not None or cut is not None:
            raise failure or cut or AssertionError

    async def hand_over(self) -> EventStream | None:
        """The upstream's head is there: stop telling. None: the client was sent nothing yet."""
        self._hush(failed=False)
        await self._silent.wait()
        return self.stream if self.stream.opened else None

    async def first_bytes(self, upstream: Wire) -> bytes:
        """What comes first behind a response head; comments go to the client until it comes.

        Empty: whoever carries the body has to wait for it.
        """
        while self.beat:
            with trio.move_on_after(self.beat):
                return await upstream.recv()
            await self.stream.send(COMMENT)
        return b""

    def _grant(self) -> None:
        if self.narration is not None:
            self.narration.over.set()
        self._may_tell.set()

    def _hush(self, *, failed: bool) -> None:
        if self.narration is not None and not self.narration.over.is_set():
            self.narration.failed = failed
        self._answered.set()
        self._grant()

    async def _tell(self) -> None:
        try:
            await self._may_tell.wait()
            if self.narration is not None and not self.narration.over.is_set():
                await self.narration.tell()
            while self.beat and not await self._answers_within(self.beat):
                if not self.stream.opened:
                    await self.stream.open()
                await self.stream.send(COMMENT)
        except OSError:
            self.exchange.scope.cancel(reason="the client has left")
        finally:
            self._silent.set()

    async def _answers_within(self, seconds: float) -> bool:
        with trio.move_on_after(seconds):
            await self._answered.wait()
        return self._answered.is_set()

    async def _say_cancelled(self) -> None:
        """Tell in the stream that an operator has cancelled the request, if it is still ours."""
        watch = self.exchange.watch
        if watch is None or not watch.cancelled or not self.stream.opened or not self.stream.intact:
            return
        if self._answered.is_set():
            return  # the upstream's bytes have begun: cutting them is all that can be said
        with trio.move_on_after(LAST_WORDS, shield=True):
            if self.narration is not None and not self.narration.over.is_set():
                await self.narration.close(failed=True)
            await self.stream.fail(RequestCancelled(f"request {watch.id} was cancelled"))


def prelude_for(exchange: Exchange, model: Model, requested: str, path: str) -> Prelude | None:
    """What to show the client of a streaming request, if anything. `path`: as sent upstream."""
    narrates = model.send_loading_state and path.startswith(NARRATED)
    if not narrates and not model.stream_keep_alive:
        return None
    stream = EventStream(exchange)
    narration = None
    if narrates and exchange.site.leases.ready_lease(model.id) is None:
        narration = Narration(stream, model.id, requested)
    if narration is None and not model.stream_keep_alive:
        return None
    return Prelude(exchange, model.stream_keep_alive, stream, narration)
