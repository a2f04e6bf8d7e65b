"""A commented configuration for a folder of models, as text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from llamaswap.models_folder.folder import Folder
from llamaswap.models_folder.memory import Memory
from llamaswap.models_folder.model_file import ModelFile
from llamaswap.models_folder.plan import Plan, Planned

GIB = 2**30
PLAIN = re.compile(r"[A-Za-z0-9/._@%+=:,-]+")


def config_text(folder: Folder, plan: Plan, memory: Memory, server: str) -> str:
    """YAML that the loader accepts; `server`: the command that runs llama-server."""
    return "".join(f"{line}\n" for line in _lines(folder, plan, memory, server))


def _lines(folder: Folder, plan: Plan, memory: Memory, server: str) -> Iterator[str]:
    room = f"{memory.size / GIB:.1f} GiB ({memory.where})"
    yield f"# Models of {_one_line(str(folder.path))}, for {room}."
    yield "# Made by `llamaswap init`; change what you like. Every key: docs/configuration.md"
    yield "#"
    yield "#   check it   llamaswap check -config THIS-FILE"
    yield "#   run it     llamaswap -config THIS-FILE -listen localhost:8080"
    for reason in folder.passed_over:
        yield f"# not served: {_one_line(reason)}"
    yield ""
    yield "# Seconds a model may take to load."
    yield "healthCheckTimeout: 300"
    yield "# Unload what was not used for this many seconds; 0 keeps it."
    yield "globalTTL: 0"
    yield ""
    yield "macros:"
    offload = " --n-gpu-layers 99" if memory.on_gpu else ""
    yield "  # Flags that every model shares; ${PORT} is chosen by llamaswap."
    yield f"  server: {_yaml(f'{server} --host 127.0.0.1 --port ${{PORT}}{offload}')}"
    yield ""
    yield "models:" if plan.models else "models: {}"
    for item in plan.models:
        yield from _model(item)
    yield from _groups(plan, memory)


def _model(item: Planned) -> Iterator[str]:
    model = item.model
    yield f"  {_yaml(item.id)}:"
    yield f"    # {_facts(model)}"
    room = f"about {item.need / GIB:.1f} GiB with {item.context or 'default'} tokens of context"
    if item.fits:
        yield f"    # {room}"
    else:
        yield f"    # {room}: more than there is. Part of it will run from slower memory, or not"
        yield "    # at all; a smaller quantisation is the better choice."
    if model.name:
        yield f"    name: {_yaml(_one_line(model.name))}"
    yield "    cmd: |"
    yield "      ${server}"
    yield f"      --model {_word(str(model.path))}"
    if model.projector:
        yield f"      --mmproj {_word(str(model.projector.path))}"
    if item.context:
        yield f"      --ctx-size {item.context}"
    if model.kind == "embedding":
        yield "      --embedding"
    elif model.kind == "reranker":
        yield "      --reranking"
    yield from _capabilities(item)


def _facts(model: ModelFile) -> str:
    facts = [model.architecture]
    if model.parameters >= 10**6:
        size = f"{model.parameters / 1e9:.1f} B" if model.parameters >= 10**8 else (
            f"{model.parameters / 1e6:.0f} M"
        )  # fmt: skip
        facts.append(f"{size} parameters")
    facts += [model.quantisation] if model.quantisation else []
    facts.append(f"{model.total_size / GIB:.1f} GiB on disk")
    facts += [f"made for {model.context} tokens"] if model.context else []
    facts += [f"in {len(model.paths)} parts"] if len(model.paths) > 1 else []
    return _one_line(", ".join(facts))


def _capabilities(item: Planned) -> Iterator[str]:
    model = item.model
    inputs = ["text"]
    if model.projector:
        inputs += ["image"] if model.projector.can_see else []
        inputs += ["audio"] if model.projector.can_hear else []
    lines = []
    if len(inputs) > 1:
        lines += [f"in: [{', '.join(inputs)}]", "out: [text]"]
    lines += ["tools: true"] if model.tools and model.kind == "chat" else []
    lines += ["reranker: true"] if model.kind == "reranker" else []
    lines += [f"context: {item.context}"] if item.context else []
    if lines:
        yield "    capabilities:   # what clients see in /v1/models"
        yield from (f"      {line}" for line in lines)


def _groups(plan: Plan, memory: Memory) -> Iterator[str]:
    if not plan.models:
        return
    yield ""
    if plan.together:
        room = f"{memory.size / GIB:.1f} GiB"
        yield f"# All models fit into {room} together, so none is stopped for another."
        yield "groups:"
        yield from _group("together", [item.id for item in plan.models], swap=False)
        return
    yield "# Who may run beside whom. In a group with `swap: true` one model runs at a time."
    yield "groups:"
    if plan.beside:
        yield "  # Small helpers: stay loaded, and no other group stops them."
        yield from _group("beside", plan.beside, swap=False, beside=True)
    if plan.in_turn:
        yield "  # The memory does not hold all of these at once, so they take turns."
        yield from _group("in-turn", plan.in_turn, swap=True)


def _group(name: str, members: object, *, swap: bool, beside: bool = False) -> Iterator[str]:
    assert isinstance(members, list | tuple)
    yield f"  {name}:"
    yield f"    swap: {str(swap).lower()}"
    yield f"    exclusive: {str(not beside).lower()}"
    if beside:
        yield "    persistent: true"
    yield "    members:"
    yield from (f"      - {_yaml(member)}" for member in members)


def _word(text: str) -> str:
    """One word of a command."""
    if PLAIN.fullmatch(text):
        return text
    return "'" + text.replace("'", "'\"'\"'") + "'"


def _yaml(text: str) -> str:
    """A YAML scalar that stays text."""
    return json.dumps(text, ensure_ascii=False)


def _one_line(text: str) -> str:
    """For comments: nothing that ends the line."""
    return re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]+", " ", text)
