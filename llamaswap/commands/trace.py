"""Traces for `simulate`: JSON lines, or what an activity store recorded. Source: scheduling §3."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from llamaswap.errors import LlamaswapError
from llamaswap.planning.simulator import Call
from llamaswap.telemetry.past_requests import past_requests


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    """`{"id": str?, "t": s?, "model": str, "service": s, "client": str?, "priority": n?, "after":
    id?, "think": s?, "cancel": s?}`."""

    model: str
    service: float
    id: str | None = None
    t: float | None = None
    client: str = ""
    priority: int | None = None
    after: str | None = None
    think: float = 0.0
    cancel: float | None = None


def read_trace(path: Path, names: Mapping[str, str]) -> list[Call]:
    """Read a trace. `names`: model id or alias to model id.

    Raises:
        LlamaswapError: names the file, the line and what is wrong with it.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as exc:
        raise LlamaswapError(f"{path}: {exc.strerror}") from exc
    calls: list[Call] = []
    for number, text in enumerate(lines, 1):
        if text.strip():
            calls.append(_call(f"{path}:{number}", number, text, names))
    _check_order(path, calls)
    return calls


def _call(where: str, number: int, text: bytes, names: Mapping[str, str]) -> Call:
    try:
        line = msgspec.json.decode(text, type=_Line)
    except msgspec.DecodeError as exc:
        raise LlamaswapError(f"{where}: {exc}") from exc
    model = names.get(line.model)
    if model is None:
        raise LlamaswapError(f"{where}: the configuration has no model {line.model!r}")
    seconds = {"service": line.service, "think": line.think, "t": line.t, "cancel": line.cancel}
    for key, value in seconds.items():
        if value is not None and not 0 <= value < float("inf"):
            raise LlamaswapError(f"{where}: {key} must be seconds from 0 on, not {value:g}")
    if (line.t is None) == (line.after is None):
        raise LlamaswapError(f"{where}: a request has either t or after")
    return Call(
        id=line.id if line.id is not None else f"line {number}",
        model=model,
        service=line.service,
        at=line.t,
        after=line.after,
        think=line.think,
        client=line.client,
        priority=line.priority,
        cancel=line.cancel,
    )


def _check_order(path: Path, calls: Iterable[Call]) -> None:
    """A request waits for one that stands before it, so no circle can be written."""
    seen: set[str] = set()
    for call in calls:
        if call.id in seen:
            raise LlamaswapError(f"{path}: two requests have the id {call.id!r}")
        if call.after is not None and call.after not in seen:
            raise LlamaswapError(
                f"{path}: request {call.id!r} comes after {call.after!r}, which is not above it"
            )
        seen.add(call.id)


def recorded_trace(path: Path, names: Mapping[str, str]) -> tuple[list[Call], int]:
    """Requests of an activity store, and how many were left out: for models that are gone."""
    found = past_requests(path)
    known = [(names[one.model], one) for one in found if one.model in names]
    start = min((one.arrived for _, one in known), default=0.0)
    calls = [
        Call(id=f"row {number}", model=model, service=one.service, at=one.arrived - start)
        for number, (model, one) in enumerate(known, 1)
    ]
    return calls, len(found) - len(known)
