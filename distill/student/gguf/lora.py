"""Writes the adapter as a GGUF file, which llama.cpp applies to the base model that it serves."""

from pathlib import Path
from typing import Any

from distill.student.gguf.names import ARCHITECTURES, PARTS

PREFIX = "base_model.model.model.layers."


def write(adapter: Path, config: Any, alpha: float, file: Path) -> None:
    """Writes the adapter_model.safetensors `adapter`, trained over a base with the transformers config `config`.

    Equal adapters give equal bytes. Writes nothing for an architecture that is not supported.
    """
    from gguf import GGUFWriter
    from safetensors.torch import load_file  # numpy knows no bf16, which QLoRA adapters are in

    if config.model_type not in ARCHITECTURES:
        return
    heads = {"self_attn.q_proj": config.num_attention_heads, "self_attn.k_proj": config.num_key_value_heads}
    writer = GGUFWriter(file, config.model_type)
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    tensors = load_file(adapter)
    for name in sorted(tensors):
        layer, part, side = _place(name)
        values = tensors[name].float().numpy()
        if side == "lora_b" and config.model_type == "llama" and part in heads:
            values = pairs(values, heads[part])
        writer.add_tensor(f"blk.{layer}.{PARTS[part]}.weight.{side}", values)
    finish(writer)


def finish(writer: Any) -> None:
    """Writes what a GGUFWriter was given into its file."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _place(name: str) -> tuple[str, str, str]:
    """`base_model.model.model.layers.3.mlp.up_proj.lora_A.weight` -> ("3", "mlp.up_proj", "lora_a")"""
    layer, _, rest = name.removeprefix(PREFIX).partition(".")
    part, side, _ = rest.rsplit(".", 2)
    return layer, part, side.lower()


def pairs(rows: Any, heads: int) -> Any:
    """Rows of a q or k projection from transformers' order (two halves) to llama.cpp's (rotary pairs side by side)."""
    import numpy

    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return numpy.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows.shape))
