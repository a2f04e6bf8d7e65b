"""Token counts and speeds from what model servers say at the end of an answer.

One merger reads every dialect: `usage` of OpenAI, Anthropic and Responses, `timings` of
llama-server, `metrics` of vLLM. Source: http-api §7.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

LARGEST = 2**63 - 1
"""What the store can hold; a count beyond it is a server's defect, not a reason to lose the row."""
MARKS = (b'"usage"', b'"timings"', b'"metrics"')
"""An event without any of these has nothing to say."""


class Tokens(msgspec.Struct, frozen=True):
    """What one request took. -1: not reported; all 0: nothing was reported at all."""

    input: int = 0
    output: int = 0
    cached: int = 0
    drafted: int = 0
    accepted: int = 0
    prompt_speed: float = 0.0
    """Tokens per second."""
    speed: float = 0.0
    """Tokens per second."""
    fresh: int = 0
    """Of the prompt, those that had to be worked on; the cache spared the others."""
    took_ms: float = 0.0
    """What the server says it worked; 0: it does not say."""


class _Nested(msgspec.Struct):
    usage: Any = None


class _Document(msgspec.Struct):
    """The parts of a JSON document or event that may hold figures; the large ones not parsed."""

    usage: Any = None
    timings: Any = None
    metrics: Any = None
    response: msgspec.Raw = msgspec.Raw()
    message: msgspec.Raw = msgspec.Raw()


_read_document = msgspec.json.Decoder(_Document).decode
_read_nested = msgspec.json.Decoder(_Nested).decode


class UsageReader(msgspec.Struct):
    """Takes events or a document, and says in the end what they said."""

    unread: int = 0
    """Events that looked as if they told figures and are no JSON objects."""
    _found: bool = False
    _input: int = 0
    _output: int = 0
    _cached: int = -1
    _apart: bool = False
    _timings: Mapping[str, Any] | None = None
    _metrics: Mapping[str, Any] | None = None

    def event(self, data: bytes) -> None:
        """Look at the data of one server-sent event; whatever is no JSON object is passed over."""
        document = _parsed(data)
        if document is None:
            self.unread += 1
            return
        nested = [_nested(document.response), _nested(document.message)]
        self._take(document, [document.usage, *nested])

    def document(self, body: bytes | bytearray) -> bool:
        """Look at a whole JSON answer. False: it is no JSON object or array."""
        document = _parsed(body)
        if document is None:
            return body.lstrip()[:1] == b"[" and self._array(body)
        self._take(document, (document.usage,))
        return True

    def result(self) -> Tokens:
        """What was found."""
        if not self._found:
            return Tokens()
        if self._timings is None and self._metrics is None:
            return Tokens(
                self._input, self._output, self._cached, -1, -1, -1.0, -1.0, self._fresh()
            )
        figures: dict[str, Any] = {
            "input": self._input,
            "fresh": self._fresh(),
            "output": self._output,
            "cached": self._cached,
            "drafted": -1,
            "accepted": -1,
            "prompt_speed": -1.0,
            "speed": -1.0,
        }
        if self._timings is not None:
            _apply_timings(figures, self._timings)
        if self._metrics is not None:
            _apply_metrics(figures, self._metrics)
        return Tokens(**figures)

    def _fresh(self) -> int:
        """OpenAI counts cached tokens within the prompt's, Anthropic beside them."""
        spared = 0 if self._apart else max(self._cached, 0)
        return max(self._input - spared, 0)

    def _array(self, body: bytes | bytearray) -> bool:
        """`/infill` may answer with an array: the last element has the timings."""
        try:
            elements = msgspec.json.decode(body, type=list[msgspec.Raw])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        document = _parsed(elements[-1]) if elements else None
        if document is not None:
            self._take(document, [])
        return True

    def _take(self, document: _Document, usages: Sequence[Any]) -> None:
        for usage in usages:
            if isinstance(usage, dict):
                self._found = True
                self._usage(usage)
        if isinstance(document.timings, dict):
            self._found, self._timings = True, document.timings
        if isinstance(document.metrics, dict):
            self._found, self._metrics = True, document.metrics

    def _usage(self, usage: Mapping[str, Any]) -> None:
        get = usage.get
        taken = _first(get("prompt_tokens"), get("input_tokens"))
        given = _first(get("completion_tokens"), get("output_tokens"))
        cached = _count(get("cache_read_input_tokens"))
        if cached is not None:
            self._apart = True
        else:
            for details in (get("input_tokens_details"), get("prompt_tokens_details")):
                if cached is None and isinstance(details, dict):
                    cached = _count(details.get("cached_tokens"))
        if taken is not None and taken > 0:
            self._input = taken
        if given is not None and given > 0:
            self._output = given
        if cached is not None and cached >= 0:
            self._cached = cached


def _apply_timings(figures: dict[str, Any], timings: Mapping[str, Any]) -> None:
    figures["input"] = figures["fresh"] = _count(timings.get("prompt_n")) or 0
    figures["output"] = _count(timings.get("predicted_n")) or 0
    figures["prompt_speed"] = _number(timings.get("prompt_per_second")) or 0.0
    figures["speed"] = _number(timings.get("predicted_per_second")) or 0.0
    cached = _count(timings.get("cache_n"))
    if cached is not None:
        figures["cached"] = cached
    drafted, accepted = _count(timings.get("draft_n")), _count(timings.get("draft_n_accepted"))
    if drafted is not None and accepted is not None:
        figures["drafted"], figures["accepted"] = drafted, accepted
    prompt, predicted = _number(timings.get("prompt_ms")), _number(timings.get("predicted_ms"))
    figures["took_ms"] = max(0.0, (prompt or 0.0) + (predicted or 0.0))


def _apply_metrics(figures: dict[str, Any], metrics: Mapping[str, Any]) -> None:
    speculative = metrics.get("speculative_decoding")
    if isinstance(speculative, dict):
        drafted = _count(speculative.get("num_draft_tokens"))
        accepted = _count(speculative.get("num_accepted_draft_tokens"))
        if drafted is not None and accepted is not None:
            figures["drafted"], figures["accepted"] = drafted, accepted
    first = _number(metrics.get("time_to_first_token_ms"))
    if first is not None and first > 0:
        fresh = figures["input"] - max(figures["cached"], 0)
        figures["prompt_speed"] = fresh / (first / 1000)
    between = _number(metrics.get("mean_itl_ms"))
    if between is not None and between > 0:
        figures["speed"] = 1000 / between


def _parsed(data: bytes | bytearray | msgspec.Raw) -> _Document | None:
    try:
        return _read_document(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _nested(raw: msgspec.Raw) -> Any:
    if not raw:
        return None
    try:
        return _read_nested(raw).usage
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _first(one: object, other: object) -> int | None:
    found = _count(one)
    return _count(other) if found is None else found


def _count(value: object) -> int | None:
    if type(value) is int and -LARGEST <= value <= LARGEST:
        return value  # nearly always
    number = _number(value)
    return None if number is None else max(-LARGEST, min(LARGEST, int(number)))


def _number(value: object) -> float | None:
    """A finite number, or None; `true` is no number. Integers stay what they are."""
    if type(value) is not int and type(value) is not float:
        return None
    return value if -1e300 < value < 1e300 else None
