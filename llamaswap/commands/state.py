"""What a running llamaswap says about itself, gathered for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import msgspec
import trio
from attrs import Factory, asdict, frozen

from llamaswap.commands.connection import Connection, Declined, Unreachable

EVENTS_LIMIT = 2.0
"""Seconds for the first events; what does not come by then is not shown."""
RECENT = timedelta(seconds=30)


@frozen(kw_only=True)
class ModelState:
    """One model and what it does."""

    id: str
    state: str
    name: str = ""
    requests: int | None = None
    """In flight or waiting; None: not known."""
    peer: str = ""
    proxy: str = ""
    ttl: int = 0


@frozen(kw_only=True)
class GpuState:
    """One accelerator's newest sample."""

    id: int
    name: str
    used_mib: int
    total_mib: int
    busy: float
    """Percent."""
    celsius: int
    watt: float


@frozen(kw_only=True)
class State:
    """Everything `status` shows."""

    url: str
    version: str
    models: tuple[ModelState, ...]
    gpus: tuple[GpuState, ...] = ()
    missing: tuple[str, ...] = Factory(tuple)
    """What could not be learned, with the reason."""

    def as_json(self) -> dict[str, Any]:
        """For `-json`: `{"url": …, "models": [{"id": …, "state": …}], "gpus": […]}`."""
        return asdict(self)


async def gather(connection: Connection) -> State:
    """Ask for everything. Raises Unreachable and Declined if not even the models are told."""
    version = await connection.get("/api/version")
    running = {entry["model"]: entry for entry in (await connection.get("/running"))["running"]}
    missing: list[str] = []
    events = await _events(connection, missing)
    if "modelStatus" in events:
        listed = [_from_event(entry) for entry in events["modelStatus"]]
    else:
        listed = [_from_list(entry) for entry in (await connection.get("/v1/models"))["data"]]
    counts = _requests(events)
    models = [
        _completed(model, running.get(model.id, {}), counts)
        for model in listed
    ]  # fmt: skip
    known = {model.id for model in listed}
    models += [
        _completed(ModelState(id=name, state=entry["state"]), entry, counts)
        for name, entry in running.items()
        if name not in known
    ]
    return State(
        url=connection.url,
        version=str(version.get("version", "")),
        models=tuple(models),
        gpus=await _gpus(connection, missing),
        missing=tuple(missing),
    )


def _from_event(entry: Mapping[str, Any]) -> ModelState:
    return ModelState(
        id=entry["id"],
        state=entry["state"],
        name=entry.get("name", ""),
        peer=entry.get("peerID", ""),
    )


def _from_list(entry: Mapping[str, Any]) -> ModelState:
    own = (entry.get("meta") or {}).get("llamaswap") or {}
    kind = own.get("type", "model")
    state = "stopped" if kind == "model" else kind
    return ModelState(
        id=entry["id"], state=state, name=entry.get("name", ""), peer=own.get("peerID", "")
    )


def _completed(
    model: ModelState, running: Mapping[str, Any], counts: Mapping[str, int] | None
) -> ModelState:
    return ModelState(
        id=model.id,
        name=model.name,
        peer=model.peer,
        state=running.get("state", model.state) or "peer",
        requests=None if counts is None else counts.get(model.id, 0),
        proxy=running.get("proxy", ""),
        ttl=running.get("ttl", 0),
    )


def _requests(events: Mapping[str, Any]) -> Mapping[str, int] | None:
    if "inflight" not in events:
        return None
    return Counter(request["model"] for request in events["inflight"].get("requests") or ())


async def _events(connection: Connection, missing: list[str]) -> dict[str, Any]:
    """The first `modelStatus` and `inflight` of the event stream, by type."""
    found: dict[str, Any] = {}
    try:
        with trio.move_on_after(EVENTS_LIMIT):
            async with connection.stream("GET", "/api/events?topics=models,inflight") as chunks:
                buffer = b""
                async for chunk in chunks:
                    buffer += chunk
                    *whole, buffer = buffer.split(b"\n\n")
                    found.update(_messages(whole))
                    if found.keys() >= {"modelStatus", "inflight"}:
                        return found
    except (Declined, Unreachable) as exc:
        missing.append(f"requests in flight: {exc}")
    return found


def _messages(blocks: Iterable[bytes]) -> Iterable[tuple[str, Any]]:
    """Type and content of each message; comments and broken ones are passed over."""
    for block in blocks:
        for line in block.split(b"\n"):
            if not line.startswith(b"data:"):
                continue
            try:
                message = msgspec.json.decode(line.removeprefix(b"data:"))
                yield message["type"], msgspec.json.decode(message["data"])
            except (msgspec.DecodeError, KeyError, TypeError):
                continue


async def _gpus(connection: Connection, missing: list[str]) -> tuple[GpuState, ...]:
    since = (datetime.now(UTC) - RECENT).isoformat(timespec="milliseconds")
    try:
        told = await connection.get(f"/api/performance?after={quote(since)}")
    except Declined as exc:
        if exc.answered == 503:
            missing.append("GPUs: performance monitoring is switched off")
        else:
            missing.append(f"GPUs: {exc}")
        return ()
    newest = {entry["id"]: entry for entry in told.get("gpu_stats") or ()}
    return tuple(
        GpuState(
            id=entry["id"],
            name=entry["name"],
            used_mib=entry["mem_used_mb"],
            total_mib=entry["mem_total_mb"],
            busy=entry["gpu_util_pct"],
            celsius=entry["temp_c"],
            watt=entry["power_draw_w"],
        )
        for _, entry in sorted(newest.items())
    )
