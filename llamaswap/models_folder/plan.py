"""Names, context sizes and groups for the models of a folder, given the memory there is.

Pure. The estimates are rough on purpose and say so in the file; they only have to be good enough
for a first start that works.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from attrs import frozen

from llamaswap.models_folder.folder import PARTS, QUANTISATION
from llamaswap.models_folder.model_file import ModelFile

GIB = 2**30
OVERHEAD = GIB // 2
"""Bytes a server takes beside weights and cache: buffers, the graph."""
CONTEXTS = (32768, 16384, 8192, 4096)
"""Sizes to try, largest first, if they fit."""
BESIDE_SHARE = 0.25
"""Small helpers stay loaded if together they take at most this share of the memory."""


@frozen(kw_only=True)
class Planned:
    """One model as it will be served."""

    id: str
    model: ModelFile
    context: int
    """Tokens to start the server with; 0: its own default."""
    need: int
    """Bytes it is expected to take."""
    fits: bool


@frozen(kw_only=True)
class Plan:
    """All models, and who may run beside whom."""

    models: tuple[Planned, ...]
    beside: tuple[str, ...]
    """Small helpers that stay loaded beside the others."""
    in_turn: tuple[str, ...]
    """The others."""
    together: bool
    """Whether all of them fit into the memory at once."""


def make_plan(models: Sequence[ModelFile], memory: int) -> Plan:
    """Decide for `models` and `memory` bytes."""
    names = unique_names(models)
    helpers = [model for model in models if model.kind != "chat"]
    helper_need = sum(_need(model, min(model.context or 2048, 8192)) for model in helpers)
    stay = bool(helpers) and helper_need <= memory * BESIDE_SHARE
    left = memory - (helper_need if stay else 0)
    planned = [
        _plan_one(names[index], model, left if model.kind == "chat" else memory)
        for index, model in enumerate(models)
    ]
    beside = tuple(item.id for item in planned if stay and item.model.kind != "chat")
    in_turn = tuple(item.id for item in planned if item.id not in beside)
    together = sum(item.need for item in planned) <= memory
    return Plan(models=tuple(planned), beside=beside, in_turn=in_turn, together=together)


def _plan_one(name: str, model: ModelFile, memory: int) -> Planned:
    if model.kind != "chat":
        context = min(model.context, 8192) if model.context else 0
        need = _need(model, context)
        return Planned(id=name, model=model, context=context, need=need, fits=need <= memory)
    wanted = [min(size, model.context or size) for size in CONTEXTS]
    for context in dict.fromkeys(wanted):
        need = _need(model, context)
        if need <= memory:
            return Planned(id=name, model=model, context=context, need=need, fits=True)
    need = _need(model, wanted[-1])
    return Planned(id=name, model=model, context=wanted[-1], need=need, fits=False)


def _need(model: ModelFile, context: int) -> int:
    return model.total_size + model.cache_per_token * context + OVERHEAD


def unique_names(models: Iterable[ModelFile]) -> list[str]:
    """A short name for each: the file's, without quantisation where that is enough."""
    stems = [PARTS.sub("", model.path.stem) for model in models]
    candidates = [[_slug(QUANTISATION.sub("", stem)), _slug(stem)] for stem in stems]
    names: list[str] = []
    for index, (short, long) in enumerate(candidates):
        alone = sum(other[0] == short for other in candidates) == 1
        name = short if alone and short not in names else long
        number = 2
        while name in names:
            name = f"{long}-{number}"
            number += 1
        names.append(name or f"model-{index + 1}")
    return names


def _slug(text: str) -> str:
    """Letters, digits, dots and dashes, in lower case."""
    return re.sub(r"[^\w.-]+", "-", text.lower()).replace("_", "-").strip("-.")
