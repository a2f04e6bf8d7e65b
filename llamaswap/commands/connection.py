"""How commands talk to a running llamaswap."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio
from attrs import define, field

from llamaswap.commands.arguments import Flag, Given
from llamaswap.errors import LlamaswapError
from llamaswap.flags import UsageError
from llamaswap.http_client import open_client, transport_errors

DEFAULT_URL = "http://localhost:8080"
ANSWER_LIMIT = 30.0
"""Seconds for an answer that nothing has to be loaded for."""

URL = Flag("url", "URL", "the running llamaswap", default=DEFAULT_URL, environ="LLAMASWAP_URL")
API_KEY = Flag(
    "api-key", "KEY", "one of its apiKeys; others can read a command line, so prefer the"
    " environment", environ="LLAMASWAP_API_KEY",
)  # fmt: skip
JSON = Flag("json", "", "print JSON for scripts")
REACH = (URL, API_KEY)
"""The flags of every command that talks to a running llamaswap."""


class Unreachable(LlamaswapError):
    """Nobody answers at that address, or not in HTTP."""


class Declined(LlamaswapError):
    """It answers, but with an error."""

    def __init__(self, text: str, answered: int) -> None:
        super().__init__(text)
        self.answered = answered
        """The HTTP status."""


@define(eq=False)
class Connection:
    """A running llamaswap, as commands see it."""

    url: str
    client: Any = field(repr=False)

    async def get(self, path: str, *, within: float = ANSWER_LIMIT) -> Any:
        """The JSON at `path`. Raises Unreachable and Declined."""
        return msgspec.json.decode(await self.ask("GET", path, within=within))

    async def ask(
        self, method: str, path: str, body: Any = None, *, within: float | None = ANSWER_LIMIT
    ) -> bytes:
        """The body of an answer below 400. Raises Unreachable and Declined."""
        limit = trio.move_on_after(within) if within else trio.CancelScope()
        with limit:
            try:
                answer = await self.client.request(method, path, json=body)
            except transport_errors() as exc:
                raise self._unreachable(exc) from exc
            if answer.status_code >= 400:
                raise self._declined(answer.status_code, answer.content)
            return bytes(answer.content)
        raise Unreachable(f"{self.url} did not answer {path} within {within:g} s")

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, body: Any = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The body of an answer, as it comes. Raises Unreachable and Declined.

        A connection that breaks later ends with Unreachable, too.
        """
        try:
            async with self.client.stream(method, path, json=body) as answer:
                if answer.status_code >= 400:
                    raise self._declined(answer.status_code, await answer.aread())
                yield answer.aiter_raw()
        except transport_errors() as exc:
            raise self._unreachable(exc) from exc

    async def started(self, request: Any) -> None:
        """Send a request that has a model started; return once that model's server answers.

        Raises Unreachable, and Declined if llamaswap itself answers with an error.
        """
        try:
            answer = await self.client.send(request)
        except transport_errors() as exc:
            raise self._unreachable(exc) from exc
        if answer.status_code >= 400 and _is_ours(answer.content):
            raise self._declined(answer.status_code, answer.content)

    def _unreachable(self, error: Exception) -> Unreachable:
        reason = str(error) or type(error).__name__
        return Unreachable(
            f"cannot talk to {self.url}: {reason}. Is llamaswap running there? "
            f"-url or {URL.environ} names another address"
        )

    def _declined(self, status: int, body: bytes) -> Declined:
        message = body.decode("utf-8", "replace").strip()[:300]
        try:
            message = str(msgspec.json.decode(body)["error"]["message"])
        except (msgspec.DecodeError, KeyError, TypeError):
            pass
        hint = ""
        if status == 401:
            hint = f" (set {API_KEY.environ} or -api-key to one of its apiKeys)"
        return Declined(f"{self.url} answered {status}: {message}{hint}", status)


@asynccontextmanager
async def connected(given: Given) -> AsyncIterator[Connection]:
    """The llamaswap that the flags or the environment name. Nothing is sent yet."""
    url = address(given.text("url"))
    headers = {"Accept": "application/json", "User-Agent": "llamaswap-cli"}
    if given.text("api-key"):
        headers["Authorization"] = f"Bearer {given.text('api-key')}"
    async with open_client(url, headers=headers) as client:
        yield Connection(url, client)


def _is_ours(body: bytes) -> bool:
    """Whether an error is llamaswap's own and not the model server's."""
    try:
        return bool(msgspec.json.decode(body)["src"] == "llama-swap")
    except (msgspec.DecodeError, KeyError, TypeError):
        return False


def address(text: str) -> str:
    """`localhost:8080`, `:8080` and `http://localhost:8080/` are the same. Raises UsageError."""
    url = text.strip()
    if "://" not in url:
        url = f"http://{'localhost' if url.startswith(':') else ''}{url}"
    scheme, _, rest = url.partition("://")
    rest = rest.rstrip("/")
    if scheme not in ("http", "https") or not rest:
        raise UsageError(f"-url {text!r} is no http:// or https:// address")
    return f"{scheme}://{rest}"
