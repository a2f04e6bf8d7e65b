"""What the stream of events says about every model. Source: http-api §6.2."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from llamaswap.api.listings import capability_flags
from llamaswap.config.schema import Config, Model
from llamaswap.planning.events import ProcessState


def model_status(
    config: Config,
    states: Mapping[str, ProcessState],
    waiting: Mapping[str, int],
    facts: Callable[[Model], Mapping[str, Any]] = lambda model: {},
) -> list[dict[str, Any]]:
    """Local models by id, unlisted ones too, then the peers' models by peer and name.

    `waiting`: requests that wait, by model. `facts`: further keys of a model's entry.
    """
    local = _local(config, states, waiting)
    told = [entry | dict(facts(config.models[entry["id"]])) for entry in local]
    return [*told, *_of_peers(config)]


def _local(
    config: Config, states: Mapping[str, ProcessState], waiting: Mapping[str, int]
) -> Iterator[dict[str, Any]]:
    for model in config.models.values():
        entry: dict[str, Any] = {
            "id": model.id,
            "name": model.name,
            "description": model.description,
            "state": states.get(model.id, ProcessState.STOPPED).value,
            "unlisted": model.unlisted,
            "peerID": "",
        }
        if model.aliases:
            entry["aliases"] = list(model.aliases)
        can = model.capabilities
        if can is not None and (flags := capability_flags(can)):
            entry["capabilities"] = flags
        if can is not None and can.context > 0:
            entry["context_length"] = can.context
        entry["ttl_s"] = model.ttl
        entry["queued"] = waiting.get(model.id, 0)
        yield entry


def _of_peers(config: Config) -> Iterator[dict[str, Any]]:
    for peer in sorted(config.peers.values(), key=lambda peer: peer.id):
        for name in sorted(set(peer.models)):
            yield {
                "id": f"{peer.id}/{name}",
                "name": "",
                "description": "",
                "state": "",
                "unlisted": False,
                "peerID": peer.id,
            }
