"""`/v1/models` and `/running`. Source: http-api §8.1, §8.2."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import quart

from llamaswap.api.app import ControlPlane, Surroundings, json_response
from llamaswap.config.report import without_password, without_secret_words
from llamaswap.config.schema import Capabilities, Config, Model, Selector
from llamaswap.planning.events import ProcessState

OWNER = "llama-swap"
CAPABILITY_KEYS = ("architecture", "capabilities", "supported_parameters", "context_length")
ACTIVE = (ProcessState.READY, ProcessState.STARTING)


def add_routes(app: ControlPlane, around: Surroundings) -> None:
    """List what can be asked for, and what runs."""

    async def models() -> quart.Response:
        pins = around.profile.pins
        records = list_models(around.config, around.models.states(), int(time.time()), pins)
        answer = json_response({"object": "list", "data": records})
        origin = quart.request.headers.get("Origin")
        if origin:
            answer.headers["Access-Control-Allow-Origin"] = origin
            answer.headers["Vary"] = "Origin"
        return answer

    async def running() -> quart.Response:
        return json_response({"running": list_running(around.config, around.models.states())})

    app.add_url_rule("/v1/models", "v1-models", models)
    app.add_url_rule("/models", "models", models)
    app.add_url_rule("/running", "running", running)


def list_running(config: Config, states: Mapping[str, ProcessState]) -> list[dict[str, Any]]:
    """Local processes that are not stopped, sorted by id, all seven fields always present."""
    return [
        {
            "model": model.id,
            "state": states[model.id].value,
            "cmd": without_secret_words(model.cmd),
            "proxy": without_password(model.proxy),
            "ttl": model.ttl,
            "name": model.name,
            "description": model.description,
        }
        for model in config.models.values()
        if states.get(model.id, ProcessState.STOPPED).resident
    ]


def list_models(
    config: Config,
    states: Mapping[str, ProcessState],
    created: int,
    pins: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Every listed name with what clients may know of it, sorted by id.

    `pins`: of the active profile; names that only it knows are listed too.
    """
    records = [
        {"id": name, "object": "model", "created": created, "owned_by": OWNER, **record}
        for name, record in (*_records(config, states), *_pins(config, pins or {}))
    ]
    return sorted(records, key=lambda record: str(record["id"]).encode())


def _records(
    config: Config, states: Mapping[str, ProcessState]
) -> Iterator[tuple[str, dict[str, Any]]]:
    for model in config.models.values():
        if model.unlisted:
            continue
        status = _status(states.get(model.id, ProcessState.STOPPED).resident)
        own = {"type": "model"}
        if model.aliases:
            own["aliases"] = list(model.aliases)  # type: ignore[assignment]
        yield model.id, {**_described(model), **_meta(model, own), **status}
        if config.include_aliases_in_list:
            for alias in model.aliases:
                if alias.strip():
                    named = {"type": "alias", "modelID": model.id}
                    yield alias, {**_described(model), **_meta(model, named), **status}
    for peer in config.peers.values():
        for name in dict.fromkeys(peer.models):
            meta = {"llamaswap": {"type": "peer", "peerID": peer.id}}
            record = {"name": f"{peer.id}: {name}", "meta": meta, **_status(loaded=False)}
            yield f"{peer.id}/{name}", record
    for selector in config.selectors.values():
        if not selector.unlisted:
            yield selector.id, _selector(config, states, selector)


def _pins(config: Config, pins: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names that exist only while the profile is active."""
    offered = [(peer.id, name) for peer in config.peers.values() for name in set(peer.models)]
    full = {f"{peer}/{name}" for peer, name in offered}
    bare = Counter(name for _, name in offered)
    for name, target in pins.items():
        known = config.real_id(name) is not None or name in config.selectors
        if target and not known and name not in full and bare[name] != 1:
            yield name, {"meta": {"llamaswap": {"type": "profile"}}, **_status(loaded=False)}


def _status(loaded: bool) -> dict[str, Any]:
    return {"status": {"value": "loaded" if loaded else "unloaded"}}


def _selector(
    config: Config, states: Mapping[str, ProcessState], selector: Selector
) -> dict[str, Any]:
    targets = selector.targets[:1] if selector.strategy == "pin" else selector.targets
    local = (config.real_id(target) for target in targets)
    loaded = any(model is not None and states.get(model) in ACTIVE for model in local)
    own: dict[str, Any] = {
        **selector.metadata,
        "type": "selector",
        "strategy": selector.strategy,
        "targets": list(selector.targets),
    }
    if selector.strategy == "spillover":
        own["spillover"] = selector.spillover
    return {**_names(selector), "meta": {"llamaswap": own}, **_status(loaded)}


def _names(named: Model | Selector) -> dict[str, str]:
    texts = {"name": named.name.strip(), "description": named.description.strip()}
    return {key: text for key, text in texts.items() if text}


def _described(model: Model) -> dict[str, Any]:
    return {**_names(model), **(_capabilities(model.capabilities) if model.capabilities else {})}


def _meta(model: Model, own: Mapping[str, Any]) -> dict[str, Any]:
    """`meta`: the operator's metadata with our type keys over it."""
    metadata = dict(model.metadata)
    if model.capabilities is not None:
        for key in CAPABILITY_KEYS:
            metadata.pop(key, None)
    meta: dict[str, Any] = {"llamaswap": {**metadata, **own}}
    if model.capabilities is not None and model.capabilities.context > 0:
        meta["n_ctx"] = model.capabilities.context
    return {"meta": meta}


def _capabilities(can: Capabilities) -> dict[str, Any]:
    record: dict[str, Any] = {}
    architecture: dict[str, Any] = {}
    if can.inputs:
        architecture["input_modalities"] = list(can.inputs)
    if can.outputs:
        architecture["output_modalities"] = list(can.outputs)
    if can.inputs and can.outputs:
        architecture["modality"] = f"{'+'.join(can.inputs)}->{'+'.join(can.outputs)}"
    if architecture:
        record["architecture"] = architecture
    if flags := capability_flags(can):
        record["capabilities"] = flags
    if can.tools:
        record["supported_parameters"] = ["tools", "tool_choice"]
    if can.context > 0:
        record["context_length"] = can.context
    return record


def capability_flags(can: Capabilities) -> dict[str, bool]:
    """What a model can do, by name; what it cannot do is absent."""
    takes, gives = set(can.inputs), set(can.outputs)
    flags = {
        "vision": "image" in takes,
        "audio_transcriptions": "audio" in takes and "text" in gives,
        "audio_speech": "text" in takes and "audio" in gives,
        "image_generation": "text" in takes and "image" in gives,
        "image_to_image": "image" in takes and "image" in gives,
        "function_calling": can.tools,
        "reranker": can.reranker,
    }
    return {name: True for name, on in flags.items() if on}
