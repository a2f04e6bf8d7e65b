"""Write a tiny random-weight GGUF (architecture llama) that a real llama.cpp server runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

EMBEDDING, HEADS, LAYERS, FEED_FORWARD, CONTEXT = 64, 4, 2, 128, 4096
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


def write_tiny_gguf(path: Path, seed: int) -> None:
    """Half a megabyte; the same seed gives the same weights."""
    random = np.random.default_rng(seed)
    writer: Any = gguf.GGUFWriter(str(path), "llama")
    writer.add_name(f"tiny-{seed}")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(EMBEDDING)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(EMBEDDING // HEADS)
    writer.add_file_type(0)
    size = _add_vocabulary(writer)

    def tensor(name: str, *shape: int) -> None:
        writer.add_tensor(name, (random.standard_normal(shape) * 0.05).astype(np.float32))

    tensor("token_embd.weight", size, EMBEDDING)
    tensor("output.weight", size, EMBEDDING)
    writer.add_tensor("output_norm.weight", np.ones(EMBEDDING, np.float32))
    for layer in range(LAYERS):
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{norm}.weight", np.ones(EMBEDDING, np.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensor(f"blk.{layer}.{name}.weight", EMBEDDING, EMBEDDING)
        for name in ("ffn_gate", "ffn_up"):
            tensor(f"blk.{layer}.{name}.weight", FEED_FORWARD, EMBEDDING)
        tensor(f"blk.{layer}.ffn_down.weight", EMBEDDING, FEED_FORWARD)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_vocabulary(writer: Any) -> int:
    tokens = [b"<unk>", b"<s>", b"</s>", *(f"<0x{byte:02X}>".encode() for byte in range(256))]
    kinds = [2, 3, 3] + [6] * 256
    tokens += ["▁".encode(), *(chr(code).encode() for code in range(33, 127))]
    kinds += [1] * 95
    fill = len(tokens)  # what comes before, after and in the gap, for /infill
    tokens += [b"<PRE>", b"<SUF>", b"<MID>"]
    kinds += [3] * 3
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    for offset, place in enumerate(("pre", "suf", "mid")):
        writer.add_uint32(f"tokenizer.ggml.fim_{place}_token_id", fill + offset)
    writer.add_vocab_size(len(tokens))
    writer.add_chat_template(TEMPLATE)
    return len(tokens)
