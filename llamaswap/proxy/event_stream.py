"""A stream of server-sent events that we begin before an upstream has answered.

Once it is open there is no status left to tell a failure with: what goes wrong becomes a frame.
Source: http-api §5.2, §5.3.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from attrs import define

from llamaswap.error_envelope import ANTHROPIC_PATHS, error_document
from llamaswap.errors import LlamaswapError
from llamaswap.proxy.http1 import Headers, render_head, status_line

if TYPE_CHECKING:
    from llamaswap.proxy.exchange import Exchange

DONE = b"data: [DONE]\n\n"
COMMENT = b": keep-alive\n\n"


@define(eq=False)
class EventStream:
    """The answer to one exchange, head and framing ours. Unopened, it has touched nothing."""

    exchange: Exchange
    opened: bool = False
    intact: bool = True
    """Whether every frame begun has gone out whole."""

    @property
    def chunked(self) -> bool:
        """Whether the client knows chunks; otherwise the end of the connection ends the stream."""
        return self.exchange.head.version == "1.1"

    async def open(self) -> None:
        """Send the head. Raises ConnectionError if the client is gone."""
        exchange = self.exchange
        headers: Headers = [
            (b"Content-Type", b"text/event-stream"),
            (b"Cache-Control", b"no-cache"),
            (b"X-Accel-Buffering", b"no"),
        ]
        if self.chunked:
            headers.append((b"Transfer-Encoding", b"chunked"))
        else:
            exchange.keep_alive = False
        headers.append((b"Connection", b"keep-alive" if exchange.keep_alive else b"close"))
        self.opened = True
        exchange.status = 200
        await self._put(render_head(status_line(200), headers))

    async def send(self, frames: bytes) -> None:
        """Send whole frames. Raises ConnectionError if the client is gone."""
        await self._put(b"%x\r\n%b\r\n" % (len(frames), frames) if self.chunked else frames)

    async def fail(self, error: LlamaswapError | int, message: str | None = None) -> None:
        """End the stream with what went wrong, in the words an answer would have had."""
        text = str(error) if message is None else message
        document = error_document(error, text, self.exchange.path)
        frame = data_frame(json.dumps(document, separators=(",", ":")).encode())
        if self.exchange.path.startswith(ANTHROPIC_PATHS):
            await self.finish(b"event: error\n" + frame)
        else:
            await self.finish(frame + DONE)

    async def finish(self, last: bytes) -> None:
        """End the stream with frames of ours."""
        await self.send(last)
        if self.chunked:
            await self._put(b"0\r\n\r\n")

    async def _put(self, data: bytes) -> None:
        self.intact = False
        await self.exchange.client.send_all(data)
        self.intact = True
        self.exchange.sent += len(data)


def data_frame(text: bytes) -> bytes:
    """One event. `text` holds no line end."""
    return b"data: %b\n\n" % text
