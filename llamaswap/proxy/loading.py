"""What a client reads while its model loads: paced text in the reasoning field. http-api §5.2."""

from __future__ import annotations

import json
import random
import secrets
import time
from collections.abc import Iterator
from functools import partial

import trio
from attrs import define, field

from llamaswap.proxy.event_stream import EventStream, data_frame

RULE = "━━━━━"
TICK = 0.75
PIECE = 5
"""Code points in one frame."""
SPEED = 75
"""UTF-8 bytes typed in a second."""
PAUSE = (5, 9)
"""Whole seconds between two remarks, at least and at most."""
REMARKS = (
    "Reading weights from disk",
    "Finding room for all those layers",
    "Waking the attention heads",
    "Counting parameters, twice",
    "Sharpening the tokenizer",
    "Stacking transformer blocks",
    "Asking the GPU nicely",
    "Unfolding a few billion numbers",
    "Moving tensors, please mind the gap",
    "Clearing the context window",
    "Warming up the matrix multipliers",
    "Dusting off the vocabulary",
    "Checking that all the heads attend",
    "Filling the cache with nothing yet",
    "Rounding floats to taste",
    "Lining up the embeddings",
    "Tuning the temperature dial",
    "Convincing the driver to cooperate",
    "Making memory where there was none",
    "Straightening the residual stream",
    "Normalizing expectations",
    "Almost certainly making progress",
    "Putting the softmax back to soft",
    "Looking for the beginning of text",
)


@define(eq=False)
class Narration:
    """The text of one loading, told until `over` is set."""

    stream: EventStream
    model: str
    """Real id: what is loading."""
    requested: str
    """The name the client used: what its answer calls the model."""
    over: trio.Event = field(factory=trio.Event)
    """Set once the model is granted, or will not be."""
    failed: bool = False
    """Whether it ended badly; known once `over` is set."""
    began: float = field(factory=time.monotonic)
    _place: str = ""
    """The newest place in the queue, as text, if it was not told yet."""
    _remarks: Iterator[str] = field(init=False)
    _pause: float = 0.0
    _quiet_since: float = 0.0
    """When the last remark or place was told."""
    _prefix: str = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._remarks = _shuffled()
        self._prefix = _prefix_of(self.requested)

    def place(self, place: int, wait: float) -> None:
        """The request now has this 1-based place, and about `wait` seconds to go."""
        self._place = f"Queue position: #{place}"
        if wait >= 1:
            self._place += f", about {wait:.0f} s"

    async def tell(self) -> None:
        """Open the stream and tell until it is over. Raises ConnectionError."""
        await self.stream.open()
        await self._say(RULE, "\n")
        await self._type(f"llama-swap loading model: {self.model}")
        await self._say("\n")
        due = trio.current_time() + TICK
        while not await self._wait_until(due):
            await self._tick()
            due += TICK * max(1, (trio.current_time() - due) // TICK + 1)
        await self.close(failed=self.failed)

    async def close(self, *, failed: bool) -> None:
        """Tell the end. Raises ConnectionError."""
        seconds = time.monotonic() - self.began
        ending = _pieces(f"{'Failed' if failed else 'Done!'} ({seconds:.2f}s)")
        await self._say("\n", *ending, "\n", RULE, "\n", " ", "\n")

    async def _tick(self) -> None:
        """A place, a remark or a dot."""
        now = time.monotonic()
        if self._place:
            text, self._place = self._place, ""
        elif now - self._quiet_since >= self._pause:
            text = next(self._remarks)
            if self._quiet_since:
                text += f" ({now - self.began:.0f} s)"
        else:
            await self._say(".")
            return
        await self._say("\n")
        await self._type(text)
        await self._say(" ")
        self._quiet_since = time.monotonic()
        self._pause = random.randint(*PAUSE)  # noqa: S311  # for variety

    async def _type(self, text: str) -> None:
        """Piece by piece at reading speed; the rest at once when it is over."""
        pieces = _pieces(text)
        while pieces:
            piece = pieces.pop(0)
            await self._say(piece)
            if pieces and await self._wait_until(trio.current_time() + len(piece.encode()) / SPEED):
                await self._say(*pieces)
                return

    async def _say(self, *texts: str) -> None:
        await self.stream.send(b"".join(map(self._frame, texts)))

    def _frame(self, text: str) -> bytes:
        written = json.dumps(text, ensure_ascii=False)
        return data_frame((self._prefix + written + '},"finish_reason":null}]}').encode())

    async def _wait_until(self, deadline: float) -> bool:
        """Whether it is over by then."""
        with trio.move_on_at(deadline):
            await self.over.wait()
        return self.over.is_set()


def _prefix_of(requested: str) -> str:
    """A chunk as strict clients want it, up to the text."""
    head = json.dumps(
        {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": requested,
        },
        separators=(",", ":"),
    )
    return head[:-1] + ',"choices":[{"index":0,"delta":{"reasoning_content":'


def _pieces(text: str) -> list[str]:
    return [text[at : at + PIECE] for at in range(0, len(text), PIECE)]


def _shuffled() -> Iterator[str]:
    """Remarks in random order, none repeated before all were used."""
    draw = partial(random.sample, REMARKS, len(REMARKS))
    while True:
        yield from draw()
