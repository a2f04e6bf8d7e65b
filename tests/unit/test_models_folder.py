"""From GGUF files to a configuration the loader accepts. Source: issue, from a folder of models."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamaswap.config.argv import split_command
from llamaswap.config.load import Loaded, load_config
from llamaswap.models_folder.folder import NoSuchFolder, scan
from llamaswap.models_folder.generate import generate
from llamaswap.models_folder.gguf_header import NotGguf, read_header
from llamaswap.models_folder.memory import Memory
from llamaswap.models_folder.model_file import ModelFile
from llamaswap.models_folder.plan import make_plan, unique_names
from tests.integration.tiny_gguf import CONTEXT, EMBEDDING, write_tiny_gguf

GIB = 2**30


def write_gguf(
    path: Path, architecture: str, keys: Mapping[str, Any] | None = None, *, width: int = 8
) -> Path:
    """A GGUF file with a head like the real ones and one tensor of `width` elements."""
    writer: Any = gguf.GGUFWriter(str(path), architecture)
    for key, value in (keys or {}).items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, list):
            writer.add_array(key, value)
        else:
            writer.add_string(key, value)
    writer.add_tensor("t", np.zeros(width, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def chat_keys(layers: int = 32, context: int = 40960, width: int = 4096) -> dict[str, Any]:
    return {
        "general.file_type": 15,
        "qwen3.context_length": context,
        "qwen3.embedding_length": width,
        "qwen3.block_count": layers,
        "qwen3.attention.head_count": 32,
        "qwen3.attention.head_count_kv": 8,
        "tokenizer.chat_template": "{% if tools %}…{% endif %}",
    }


def loaded_from(folder: Path, text: str) -> Loaded:
    path = folder / "made.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, None, environ={})


def test_the_header_of_a_model_that_llama_cpp_runs_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write_tiny_gguf(path, 1)
    header = read_header(path)
    assert header.metadata["general.architecture"] == "llama"
    assert header.metadata["llama.context_length"] == CONTEXT
    assert header.parameters == sum(
        int(np.prod(tensor.shape)) for tensor in gguf.GGUFReader(path).tensors
    )
    [model] = scan(tmp_path).models
    assert (model.kind, model.quantisation, model.context) == ("chat", "F32", CONTEXT)
    assert model.cache_per_token == 2 * 2 * 2 * EMBEDDING


def test_long_arrays_are_skipped_and_short_ones_kept(tmp_path: Path) -> None:
    words = [f"word {number}" for number in range(3000)]
    path = write_gguf(
        tmp_path / "m.gguf",
        "qwen3",
        {"tokenizer.tokens": words, "qwen3.attention.head_count_kv": [8, 0, 8], "after": 7},
    )
    metadata = read_header(path).metadata
    assert "tokenizer.tokens" not in metadata
    assert metadata["qwen3.attention.head_count_kv"] == [8, 0, 8]
    assert metadata["after"] == 7


def test_a_header_cut_at_every_place_is_refused_and_never_crashes(tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "whole.gguf", "qwen3", chat_keys()).read_bytes()
    size = whole.index(b"\x00" * 4, whole.rindex(b"t\x01\x00\x00\x00"))
    cut = tmp_path / "cut.gguf"
    for length in range(0, size, 7):
        cut.write_bytes(whole[:length])
        with pytest.raises(NotGguf, match=r"cut\.gguf: "):
            read_header(cut)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no GGUF file"),
        (b"PK\x03\x04 something else", "no GGUF file"),
        (b"<!DOCTYPE html>", "no GGUF file"),
        (b"GGUF" + struct.pack("<I", 1) + bytes(32), "version 1"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(32), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0) + bytes(32), "more entries"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60) + bytes(32), "more entries"),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"k"
            + struct.pack("<I", 99) + bytes(32),
            "unknown type 99",
        ),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**63) + bytes(32),
            "ends in the middle",
        ),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"k"
            + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 9 + bytes(64),
            "too deeply",
        ),
    ],
)  # fmt: skip
def test_broken_files_are_named_with_what_is_wrong(
    tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(content)
    with pytest.raises(NotGguf, match=says):
        read_header(path)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_flipped_bytes_are_refused_or_read_but_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("flipped")
    content = bytearray(write_gguf(folder / "m.gguf", "qwen3", chat_keys()).read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / "m.gguf").write_bytes(content)
    found = scan(folder)
    assert len(found.models) + len(found.passed_over) == 1


def test_a_folder_becomes_a_configuration_that_loads(tmp_path: Path) -> None:
    deep = tmp_path / "qwen" / 'it\'s a "folder" with ünicode & $HOME'
    deep.mkdir(parents=True)
    write_gguf(deep / "Qwen3-8B-Q4_K_M.gguf", "qwen3", chat_keys())
    write_gguf(deep / "Qwen3-8B-Q8_0.gguf", "qwen3", chat_keys())
    for number in (1, 2):
        write_gguf(tmp_path / f"Big-70B-Q4_K_M-0000{number}-of-00002.gguf", "qwen3", chat_keys())
    write_gguf(tmp_path / "half-00001-of-00003.gguf", "qwen3", chat_keys())
    write_gguf(tmp_path / "nomic-embed.gguf", "nomic-bert", {"nomic-bert.pooling_type": 1})
    write_gguf(tmp_path / "judge.gguf", "qwen3", {"qwen3.pooling_type": 4})
    vision = tmp_path / "gemma"
    vision.mkdir()
    write_gguf(vision / "gemma-3-4b-it-Q4_0.gguf", "gemma3", {"gemma3.embedding_length": 2560})
    write_gguf(
        vision / "mmproj-model-f16.gguf",
        "clip",
        {"clip.has_vision_encoder": True, "clip.vision.projection_dim": 2560},
    )
    write_gguf(tmp_path / "mmproj-lost.gguf", "clip")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")
    (tmp_path / "notes.txt").write_text("no model")
    (tmp_path / ".cache").mkdir()
    write_gguf(tmp_path / ".cache" / "hidden.gguf", "qwen3")
    (tmp_path / "bad${macro}.gguf").write_bytes(b"GGUF")

    found = scan(tmp_path)
    text = generate(found, "llama-server", Memory(24 * GIB, "1 GPU", on_gpu=True))
    config = loaded_from(tmp_path, text).config

    assert set(config.models) == {
        "big-70b", "gemma-3-4b-it", "judge", "nomic-embed", "qwen3-8b-q4-k-m", "qwen3-8b-q8-0",
    }  # fmt: skip
    words = split_command(config.models["qwen3-8b-q4-k-m"].cmd)
    assert words[0] == "llama-server"
    assert words[words.index("--model") + 1] == str(deep / "Qwen3-8B-Q4_K_M.gguf")
    assert words[words.index("--ctx-size") + 1] == "32768"
    assert "--n-gpu-layers" in words
    big = split_command(config.models["big-70b"].cmd)
    assert big[big.index("--model") + 1].endswith("-00001-of-00002.gguf")
    seeing = config.models["gemma-3-4b-it"]
    assert str(vision / "mmproj-model-f16.gguf") in split_command(seeing.cmd)
    assert seeing.capabilities is not None
    assert seeing.capabilities.inputs == ("text", "image")
    assert "--embedding" in split_command(config.models["nomic-embed"].cmd)
    assert "--reranking" in split_command(config.models["judge"].cmd)
    reasons = "\n".join(found.passed_over)
    for name in ("half", "mmproj-lost", "broken", "bad${macro}"):
        assert name in reasons
        assert name in text
    assert "hidden" not in text
    assert loaded_from(tmp_path, text).warnings == ()


def model(name: str, gib: float, kind: Any = "chat", **keys: Any) -> ModelFile:
    values: dict[str, Any] = {
        "paths": (Path(f"/m/{name}.gguf"),), "kind": kind, "architecture": "a", "name": "",
        "quantisation": "", "size": int(gib * GIB), "parameters": 0, "context": 131072,
        "width": 0, "cache_per_token": 131072,
    }  # fmt: skip
    return ModelFile(**{**values, **keys})


def test_small_helpers_stay_beside_big_models_that_take_turns() -> None:
    models = [model("a", 14), model("b", 17), model("e", 0.5, "embedding", context=2048)]
    plan = make_plan(models, 24 * GIB)
    assert plan.beside == ("e",)
    assert plan.in_turn == ("a", "b")
    assert not plan.together
    assert all(item.fits for item in plan.models)


def test_context_shrinks_until_the_model_fits() -> None:
    plan = make_plan([model("a", 20)], 24 * GIB)
    assert plan.models[0].context == 16384
    assert plan.models[0].need <= 24 * GIB
    assert make_plan([model("a", 20, context=2048)], 24 * GIB).models[0].context == 2048


def test_what_does_not_fit_is_served_with_a_remark() -> None:
    plan = make_plan([model("a", 40)], 24 * GIB)
    assert not plan.models[0].fits
    assert plan.models[0].context == 4096


def test_what_fits_together_is_not_swapped() -> None:
    assert make_plan([model("a", 2), model("b", 3)], 24 * GIB).together


def test_names_are_short_where_that_is_enough_and_always_different() -> None:
    files = [
        model("Qwen3-8B-Q4_K_M", 1), model("Qwen3-8B-Q8_0", 1), model("Phi-4-UD-Q4_K_XL", 1),
        model("phi_4", 1), model("ünïcode model", 1), model("…", 1), model("…", 1),
        model("x-Q4_K_M", 1), model("x-Q4_K_M", 1),
    ]  # fmt: skip
    names = unique_names(files)
    assert len(set(names)) == len(names)
    assert names[:2] == ["qwen3-8b-q4-k-m", "qwen3-8b-q8-0"]
    assert names[4] == "ünïcode-model"


def test_an_empty_folder_is_a_valid_configuration(tmp_path: Path) -> None:
    text = generate(scan(tmp_path), "llama-server", Memory(GIB, "RAM", on_gpu=False))
    assert loaded_from(tmp_path, text).config.models == {}


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoSuchFolder, match="nowhere is no folder"):
        scan(tmp_path / "nowhere")
