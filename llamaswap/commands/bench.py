"""`bench`: load on a running server, and how fast it answers."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Sequence

import msgspec
import trio
from attrs import define, field
from rich.console import Console
from rich.table import Table

from llamaswap.commands.arguments import Flag, Given, Line
from llamaswap.commands.connection import (
    API_KEY,
    JSON,
    URL,
    Connection,
    Declined,
    Unreachable,
    connected,
)
from llamaswap.commands.running import run_async
from llamaswap.flags import UsageError

LINE = Line(
    name="bench",
    summary="Send chat requests and report rate, latency and tokens a second.",
    flags=(
        Flag("model", "MODEL", "whom to ask; several with commas are asked in turn"),
        Flag("requests", "N", "how many", default="10"),
        Flag("par", "N", "how many at once", default="1"),
        Flag("max-tokens", "N", "tokens of an answer at most", default="64"),
        Flag("prompt", "TEXT", "what is asked", default="Count from one to twenty."),
        Flag("stream", "", "stream the answers and measure the time to the first byte"),
        Flag("timeout", "DURATION", "for one request", default="300s"),
        Flag("baseurl", "URL", "like -url, with /v1 at its end, as other tools want it"),
        JSON,
        URL,
        API_KEY,
    ),
    details="Exit code 1 if any request failed.",
)


@define
class Results:
    """What came of the requests."""

    wanted: int
    statuses: Counter[str] = field(factory=Counter)
    seconds: list[float] = field(factory=list)
    """Of answers with status 200, from sending to the last byte."""
    first: list[float] = field(factory=list)
    """To the first byte of the body."""
    tokens: int = 0
    elapsed: float = 0.0

    @property
    def done(self) -> int:
        """Requests that ended, however."""
        return sum(self.statuses.values())

    def as_json(self) -> dict[str, object]:
        """Rates per second, times in milliseconds."""
        return {
            "requests": self.done,
            "statuses": dict(self.statuses),
            "elapsed_s": round(self.elapsed, 3),
            "requests_per_s": round(self.done / self.elapsed, 2) if self.elapsed else 0.0,
            "tokens_per_s": round(self.tokens / self.elapsed, 2) if self.elapsed else 0.0,
            "latency_ms": _percentiles(self.seconds),
            "first_byte_ms": _percentiles(self.first),
        }


def run(arguments: Sequence[str]) -> int:
    """Measure, then print one table."""
    given = LINE.read(arguments)
    if not given.text("model"):
        raise UsageError("-model is missing")
    for name in ("requests", "par", "max-tokens"):
        given.count(name)
    if given.text("baseurl"):
        base = given.text("baseurl").rstrip("/").removesuffix("/v1")
        given = Given({**given.flags, "url": base}, given.arguments)
    results = run_async(lambda: _measure(given))
    if given.on("json"):
        sys.stdout.write(msgspec.json.encode(results.as_json()).decode() + "\n")
    else:
        Console(highlight=False).print(_table(results))
    return 0 if results.statuses.keys() == {"200"} else 1


async def _measure(given: Given) -> Results:
    results = Results(given.count("requests"))
    models = [name.strip() for name in given.text("model").split(",") if name.strip()]
    numbers = iter(range(results.wanted))
    async with connected(given) as connection:
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_show_progress, results)
            async with trio.open_nursery() as workers:
                for _ in range(given.count("par")):
                    workers.start_soon(_worker, given, connection, numbers, models, results)
            nursery.cancel_scope.cancel(reason="measured")
        results.elapsed = trio.current_time() - began
    return results


async def _worker(
    given: Given, connection: Connection, numbers: object, models: list[str], results: Results
) -> None:
    for number in numbers:  # type: ignore[attr-defined]  # one iterator feeds all workers
        body = {
            "model": models[number % len(models)],
            "messages": [{"role": "user", "content": given.text("prompt")}],
            "max_tokens": given.count("max-tokens"),
            "stream": given.on("stream"),
        }
        if body["stream"]:
            body["stream_options"] = {"include_usage": True}
        outcome = "timed out"
        with trio.move_on_after(given.seconds("timeout")):
            outcome = await _ask(connection, body, results)
        results.statuses[outcome] += 1


async def _ask(connection: Connection, body: dict[str, object], results: Results) -> str:
    began = trio.current_time()
    first = math.nan
    answer = b""
    try:
        async with connection.stream("POST", "/v1/chat/completions", body) as chunks:
            async for chunk in chunks:
                if math.isnan(first):
                    first = trio.current_time() - began
                answer += chunk
    except Declined as exc:
        return str(exc.answered)
    except Unreachable as exc:
        return str(exc)
    results.seconds.append(trio.current_time() - began)
    results.first.append(first)
    results.tokens += _tokens(answer, streamed=bool(body["stream"]))
    return "200"


def _tokens(answer: bytes, *, streamed: bool) -> int:
    """`usage.completion_tokens` of an answer; 0 if it says nothing."""
    documents = [answer]
    if streamed:
        lines = answer.split(b"\n")
        documents = [line.removeprefix(b"data:") for line in lines if line.startswith(b"data:")]
    for document in reversed(documents):
        try:
            return int(msgspec.json.decode(document)["usage"]["completion_tokens"])
        except (msgspec.DecodeError, KeyError, TypeError):
            continue
    return 0


async def _show_progress(results: Results) -> None:
    await trio.sleep(2)
    while True:
        sys.stderr.write(f"{results.done} of {results.wanted} requests\n")
        sys.stderr.flush()
        await trio.sleep(5)


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Nearest rank."""
    ordered = sorted(seconds)
    if not ordered:
        return {}
    return {
        f"p{share}": round(1000 * ordered[math.ceil(share / 100 * len(ordered)) - 1], 2)
        for share in (50, 90, 99)
    } | {"max": round(1000 * ordered[-1], 2)}


def _table(results: Results) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    told = results.as_json()
    for status, count in sorted(results.statuses.items()):
        table.add_row(f"status {status}" if status.isdigit() else status, str(count))
    table.add_row("requests/s", str(told["requests_per_s"]))
    table.add_row("tokens/s", str(told["tokens_per_s"]))
    for title, key in (("latency ms", "latency_ms"), ("first byte ms", "first_byte_ms")):
        figures = told[key]
        assert isinstance(figures, dict)
        table.add_row(title, "  ".join(f"{name} {value}" for name, value in figures.items()))
    return table
