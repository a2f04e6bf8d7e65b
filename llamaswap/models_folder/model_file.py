"""What one model file (or the parts of a split one) is good for, from its header."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from attrs import field, frozen

from llamaswap.models_folder.gguf_header import Header

MIB = 2**20
FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K",
    11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S",
    17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS",
    23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M",
    30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4",
}  # fmt: skip
"""`general.file_type` to the name people know. Source: llama.cpp, enum llama_ftype."""
EMBEDDERS = ("bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "modern-bert",
             "neo-bert", "gemma-embedding", "t5encoder")  # fmt: skip
RANK_POOLING = 4
Kind = Literal["chat", "embedding", "reranker", "projector"]


@frozen(kw_only=True)
class ModelFile:
    """One model."""

    paths: tuple[Path, ...]
    """The file, or all parts in order; the server is given the first."""
    kind: Kind
    architecture: str
    name: str
    quantisation: str
    size: int
    """Bytes on disk, of all parts."""
    parameters: int
    context: int
    """Tokens it was made for; 0: not said."""
    width: int
    """Embedding length; 0: not said."""
    cache_per_token: int
    """Bytes of key-value cache for one token of context at 16 bit; 0: not known."""
    can_see: bool = False
    can_hear: bool = False
    tools: bool = False
    """Its chat template knows tools."""
    projector: ModelFile | None = field(default=None)

    @property
    def path(self) -> Path:
        """What the server is started with."""
        return self.paths[0]

    @property
    def total_size(self) -> int:
        """Bytes on disk with the projector."""
        return self.size + (self.projector.size if self.projector else 0)


def describe(paths: tuple[Path, ...], headers: tuple[Header, ...]) -> ModelFile:
    """A model from the headers of its parts; the first part has the metadata that counts."""
    meta = headers[0].metadata
    architecture = _text(meta, "general.architecture")
    template = _text(meta, "tokenizer.chat_template")
    return ModelFile(
        paths=paths,
        kind=_kind(architecture, meta, paths[0]),
        architecture=architecture or "unknown",
        name=_text(meta, "general.name"),
        quantisation=FILE_TYPES.get(_whole(meta, "general.file_type", -1), ""),
        size=sum(path.stat().st_size for path in paths),
        parameters=sum(header.parameters for header in headers),
        context=_whole(meta, f"{architecture}.context_length"),
        width=_width(architecture, meta),
        cache_per_token=_cache_per_token(architecture, meta),
        can_see=meta.get("clip.has_vision_encoder") is True,
        can_hear=meta.get("clip.has_audio_encoder") is True,
        tools="tools" in template,
    )


def _kind(architecture: str, meta: Mapping[str, Any], path: Path) -> Kind:
    if architecture == "clip" or path.name.lower().startswith("mmproj"):
        return "projector"
    pooling = _whole(meta, f"{architecture}.pooling_type")
    if pooling == RANK_POOLING or "rerank" in path.name.lower():
        return "reranker"
    if pooling or architecture in EMBEDDERS or "embed" in path.name.lower():
        return "embedding"
    return "chat"


def _width(architecture: str, meta: Mapping[str, Any]) -> int:
    """A projector's width is that of the model it was made for."""
    if architecture == "clip":
        keys = ("clip.vision.projection_dim", "clip.audio.projection_dim")
        return max(_whole(meta, key) for key in keys)
    return _whole(meta, f"{architecture}.embedding_length")


def _cache_per_token(architecture: str, meta: Mapping[str, Any]) -> int:
    """Two vectors per layer and key-value head, two bytes a number.

    Too high for models that look back over a window only, or have layers without attention.
    """
    layers = _whole(meta, f"{architecture}.block_count")
    heads = _whole(meta, f"{architecture}.attention.head_count")
    width = _whole(meta, f"{architecture}.embedding_length")
    if not (layers and heads and width):
        return 0
    key_size = _whole(meta, f"{architecture}.attention.key_length", width // heads)
    value_size = _whole(meta, f"{architecture}.attention.value_length", width // heads)
    per_layer = meta.get(f"{architecture}.attention.head_count_kv", heads)
    if isinstance(per_layer, list):
        total = sum(value for value in per_layer if isinstance(value, int))
    else:
        total = layers * int(per_layer)
    return 2 * total * (key_size + value_size)


def _text(meta: Mapping[str, Any], key: str) -> str:
    value = meta.get(key)
    return value if isinstance(value, str) else ""


def _whole(meta: Mapping[str, Any], key: str, default: int = 0) -> int:
    """A number; of one per layer the largest."""
    value = meta.get(key, default)
    if isinstance(value, list):
        value = max((item for item in value if isinstance(item, int)), default=default)
    return value if isinstance(value, int) and not isinstance(value, bool) else default
