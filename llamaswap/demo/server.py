"""A small model server that speaks what llama-server speaks, without a model.

Deterministic answers at a set token rate after a set load time; chat, completions, Anthropic
messages and embeddings, streamed or not, with usage and llama-server's `timings`.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import h11
import msgspec
import trio
from attrs import define, field

from llamaswap.demo.wording import words_for

logger = logging.getLogger(__name__)

EMBEDDING_SIZE = 64
CONTEXT = 4096


@define(eq=False)
class Request:
    """A whole request."""

    method: str
    path: str
    body: Any


@define(eq=False)
class ModelServer:
    """One pretended model."""

    model: str
    load_seconds: float = 0.0
    rate: float = 50.0
    """Tokens per second; 0: all at once."""
    tokens: int | None = None
    """Tokens of an answer, whatever there is to say; None: as many as there are words."""
    _started: float = field(factory=time.monotonic)

    async def serve(self, host: str, port: int) -> None:
        """Accept until the process is ended."""
        print(f"loading {self.model} ({self.load_seconds:g} s)", flush=True)  # noqa: T201  # as real servers do
        await trio.serve_tcp(self._connection, port, host=host)

    async def serve_listeners(
        self,
        listeners: list[trio.SocketListener],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept on sockets that listen already, until cancelled."""
        task_status.started()
        await trio.serve_listeners(self._connection, listeners)

    @property
    def loading(self) -> bool:
        """Whether the pretended weights are still on their way."""
        return time.monotonic() - self._started < self.load_seconds

    # --- HTTP -------------------------------------------------------------------------------------

    async def _connection(self, stream: trio.SocketStream) -> None:
        wire = h11.Connection(h11.SERVER)
        try:
            while True:
                request = await _read(wire, stream)
                if request is None:
                    return
                await self._answer(partial(_send, wire, stream), request)
                if wire.our_state is h11.MUST_CLOSE:
                    return
                wire.start_next_cycle()
        except (trio.BrokenResourceError, h11.ProtocolError):
            return  # the client left, or never spoke HTTP

    async def _answer(self, send: Any, request: Request) -> None:
        match request.method, request.path:
            case "GET", "/health":
                if self.loading:
                    problem = {"code": 503, "message": "Loading model", "type": "unavailable_error"}
                    await _json(send, {"error": problem}, 503)
                else:
                    await _json(send, {"status": "ok"})
            case "GET", "/v1/models" | "/models":
                await _json(
                    send, {"object": "list", "data": [{"id": self.model, "object": "model"}]}
                )
            case "GET", "/props":
                await _json(send, {"total_slots": 4, "model_path": self.model, "n_ctx": CONTEXT})
            case "POST", "/v1/chat/completions" | "/chat/completions":
                await self._completion(send, request.body, chat=True)
            case "POST", "/v1/completions" | "/completions":
                await self._completion(send, request.body, chat=False)
            case "POST", "/v1/messages":
                await self._message(send, request.body)
            case "POST", "/v1/embeddings" | "/embeddings":
                await _json(send, self._embeddings(request.body))
            case _:
                await _json(send, {"error": {"code": 404, "message": "File Not Found"}}, 404)

    # --- answers ----------------------------------------------------------------------------------

    async def _completion(self, send: Any, body: dict[str, Any], *, chat: bool) -> None:
        prompt = _prompt(body)
        words = self._words(prompt, body)
        kind = "chat.completion" if chat else "text_completion"
        head = {
            "id": "demo-" + hashlib.sha256(prompt.encode()).hexdigest()[:12],
            "created": int(time.time()),
            "model": body.get("model", self.model),
        }
        if not body.get("stream"):
            await trio.sleep(len(words) / self.rate if self.rate else 0)
            text = "".join(words)
            content: dict[str, Any] = {"text": text}
            if chat:
                content = {"message": {"role": "assistant", "content": text}}
            choice = {"index": 0, "finish_reason": "stop", **content}
            usage, timings = self._figures(prompt, len(words))
            await _json(
                send,
                {**head, "object": kind, "choices": [choice], "usage": usage, "timings": timings},
            )
            return
        await send(_head(200, "text/event-stream"))
        head["object"] = f"{kind}.chunk" if chat else kind
        async for word in self._paced(words):
            content = {"delta": {"content": word}} if chat else {"text": word}
            await _event(
                send, {**head, "choices": [{"index": 0, "finish_reason": None, **content}]}
            )
        content = {"delta": {}} if chat else {"text": ""}
        usage, timings = self._figures(prompt, len(words))
        last: dict[str, Any] = {
            **head,
            "choices": [{"index": 0, "finish_reason": "stop", **content}],
            "timings": timings,
        }
        await _event(send, last)
        if (body.get("stream_options") or {}).get("include_usage"):
            await _event(send, {**head, "choices": [], "usage": usage})
        await send(h11.Data(b"data: [DONE]\n\n"))
        await send(h11.EndOfMessage())

    async def _message(self, send: Any, body: dict[str, Any]) -> None:
        """The Anthropic form."""
        prompt = _prompt(body)
        words = self._words(prompt, body)
        usage = {"input_tokens": _tokens(prompt), "output_tokens": len(words)}
        message = {
            "id": "msg_demo",
            "type": "message",
            "role": "assistant",
            "model": body.get("model", self.model),
            "stop_sequence": None,
        }
        if not body.get("stream"):
            await trio.sleep(len(words) / self.rate if self.rate else 0)
            content = [{"type": "text", "text": "".join(words)}]
            whole = {**message, "content": content, "stop_reason": "end_turn", "usage": usage}
            await _json(send, whole)
            return
        await send(_head(200, "text/event-stream"))
        begun = {
            **message,
            "content": [],
            "stop_reason": None,
            "usage": {**usage, "output_tokens": 0},
        }
        await _named(send, "message_start", {"message": begun})
        block = {"type": "text", "text": ""}
        await _named(send, "content_block_start", {"index": 0, "content_block": block})
        async for word in self._paced(words):
            delta = {"type": "text_delta", "text": word}
            await _named(send, "content_block_delta", {"index": 0, "delta": delta})
        await _named(send, "content_block_stop", {"index": 0})
        end = {"stop_reason": "end_turn", "stop_sequence": None}
        await _named(send, "message_delta", {"delta": end, "usage": usage})
        await _named(send, "message_stop", {})
        await send(h11.EndOfMessage())

    def _embeddings(self, body: dict[str, Any]) -> dict[str, Any]:
        wanted = body.get("input", "")
        texts = wanted if isinstance(wanted, list) else [wanted]
        data = [
            {"object": "embedding", "index": index, "embedding": embedding(str(text))}
            for index, text in enumerate(texts)
        ]
        count = sum(_tokens(str(text)) for text in texts)
        usage = {"prompt_tokens": count, "total_tokens": count}
        return {"object": "list", "model": self.model, "data": data, "usage": usage}

    def _words(self, prompt: str, body: dict[str, Any]) -> list[str]:
        words = words_for(self.model, prompt, CONTEXT)
        if self.tokens is not None:
            words = [words[number % len(words)] for number in range(self.tokens)]
        return words[: _limit(body)]

    async def _paced(self, words: list[str]) -> AsyncIterator[str]:
        began = trio.current_time()
        for number, word in enumerate(words):
            if self.rate:
                await trio.sleep_until(began + number / self.rate)
            yield word

    def _figures(self, prompt: str, count: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """`usage` and `timings` as llama-server gives them."""
        asked = _tokens(prompt)
        usage = {
            "prompt_tokens": asked,
            "completion_tokens": count,
            "total_tokens": asked + count,
        }
        rate = self.rate or 1000.0
        timings = {
            "cache_n": 0,
            "prompt_n": asked,
            "prompt_ms": float(asked),
            "prompt_per_second": 1000.0,
            "predicted_n": count,
            "predicted_ms": 1000.0 * count / rate,
            "predicted_per_second": rate,
        }
        return usage, timings


def embedding(text: str) -> list[float]:
    """A unit vector that depends on the text alone."""
    seed = hashlib.shake_256(text.encode()).digest(EMBEDDING_SIZE)
    raw = [byte - 127.5 for byte in seed]
    length = math.sqrt(sum(value * value for value in raw))
    return [value / length for value in raw]


def _prompt(body: dict[str, Any]) -> str:
    """The last thing said, or the prompt."""
    messages = body.get("messages")
    said = messages[-1].get("content", "") if messages else body.get("prompt", "")
    if isinstance(said, list):
        said = " ".join(part.get("text", "") for part in said if isinstance(part, dict))
    return str(said)


def _limit(body: dict[str, Any]) -> int:
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or body.get("n_predict")
    return limit if isinstance(limit, int) and limit > 0 else CONTEXT


def _tokens(text: str) -> int:
    return max(1, len(text) // 4)


async def _read(wire: h11.Connection, stream: trio.SocketStream) -> Request | None:
    """The next whole request; None: the client has closed."""
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = wire.next_event()
        if event is h11.NEED_DATA:
            if wire.they_are_waiting_for_100_continue:
                interim = wire.send(h11.InformationalResponse(status_code=100, headers=[]))
                await stream.send_all(interim or b"")
            wire.receive_data(await stream.receive_some(65536))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            path = head.target.decode("ascii").partition("?")[0]
            try:
                content = msgspec.json.decode(body) if body else {}
            except msgspec.DecodeError:
                content = {}
            return Request(head.method.decode("ascii"), path, content)
        else:
            return None


async def _send(wire: h11.Connection, stream: trio.SocketStream, event: h11.Event) -> None:
    data = wire.send(event)
    if data:
        await stream.send_all(data)


def _head(status: int, kind: str, length: int | None = None) -> h11.Response:
    headers = [("Content-Type", kind)]
    if length is not None:
        headers.append(("Content-Length", str(length)))
    return h11.Response(status_code=status, headers=headers)


async def _json(send: Any, content: Any, status: int = 200) -> None:
    body = msgspec.json.encode(content)
    await send(_head(status, "application/json; charset=utf-8", len(body)))
    await send(h11.Data(body))
    await send(h11.EndOfMessage())


async def _event(send: Any, content: Any) -> None:
    await send(h11.Data(b"data: " + msgspec.json.encode(content) + b"\n\n"))


async def _named(send: Any, name: str, content: dict[str, Any]) -> None:
    data = msgspec.json.encode({"type": name, **content})
    await send(h11.Data(f"event: {name}\ndata: ".encode() + data + b"\n\n"))
