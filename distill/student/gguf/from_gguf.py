"""Converts a GGUF file into a folder that transformers can train: dense fp32 safetensors, config and tokenizer.

Written here because transformers' own route parses the file twice, marks the model as not trainable and forgets
llama.cpp's digit splitting, so that its token ids are not those of the server. Ids from here equal llama.cpp's.
"""

import json
import math
from pathlib import Path
from typing import Any

from distill.records.faults import InputError
from distill.student.gguf.header import Header, cut_off, read
from distill.student.gguf.names import ARCHITECTURES, OUTSIDE, PARTS

FORMAT = "v1"  # part of the folder's name: change it with the output, and files are converted again
CONTROL, USER_DEFINED = 3, 4  # tokenizer.ggml.token_type, gguf specification

# llama.cpp's pattern for splitting text before BPE (llama-vocab.cpp), in the syntax of `tokenizers`.
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
NAMES = {gguf: hf for hf, gguf in {**PARTS, **OUTSIDE}.items()}


def convert(file: Path, folder: Path, weights: bool) -> None:
    """Writes config.json, generation_config.json, tokenizer.json, tokenizer_config.json, chat_template.jinja (when the
    file has one) and, if asked for, model.safetensors into `folder`.

    The weights need numpy, gguf and safetensors; the rest only `tokenizers`. Raises InputError for an architecture,
    a tokenizer or a rope scaling that is not supported, and for a file that is a part of a model or cut off.
    """
    gguf = read(file)
    fields = gguf.fields
    if (parts := fields.get("split.count", 1)) > 1:
        raise InputError(
            f"{file}: is one of the {parts} parts of a model: make one file of them with llama-gguf-split --merge"
        )
    if fields["general.architecture"] not in ARCHITECTURES:
        raise InputError(
            f"{file}: architecture '{fields['general.architecture']}' is none of {', '.join(ARCHITECTURES)}"
        )
    write_settings(folder / "config.json", _config(file, gguf))
    ids = {name: fields.get(f"tokenizer.ggml.{name}") for name in ("bos_token_id", "eos_token_id")}
    write_settings(folder / "generation_config.json", {name: id_ for name, id_ in ids.items() if id_ is not None})
    _tokenizer(file, fields).save(str(folder / "tokenizer.json"), pretty=False)
    write_settings(folder / "tokenizer_config.json", _tokenizer_config(fields))
    if "tokenizer.chat_template" in fields:
        (folder / "chat_template.jinja").write_text(fields["tokenizer.chat_template"], encoding="utf-8")
    if weights:
        from safetensors.numpy import save_file

        save_file(_weights(file, gguf), folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "model.safetensors").chmod(0o644)


def _weights(file: Path, header: Header) -> dict[str, Any]:
    import numpy
    from gguf import GGMLQuantizationType, dequantize, quant_shape_to_byte_shape

    data = numpy.memmap(file, mode="r")
    architecture = header.fields["general.architecture"]
    heads = {"attn_q": header.fields[f"{architecture}.attention.head_count"]}
    heads["attn_k"] = header.fields.get(f"{architecture}.attention.head_count_kv", heads["attn_q"])
    weights = {}
    for tensor in header.tensors:
        kind = GGMLQuantizationType(tensor.kind)
        shape = quant_shape_to_byte_shape(tensor.shape, kind)
        end = tensor.offset + math.prod(shape)
        if end > data.size:
            raise cut_off(file)
        packed = data[tensor.offset : end].reshape(shape)
        values = dequantize(packed, kind).astype(numpy.float32, copy=False)
        name, suffix = tensor.name.rsplit(".", 1)
        if not name.startswith("blk."):
            weights[f"{NAMES[name]}.{suffix}"] = values
            continue
        _, layer, part = name.split(".")
        if architecture == "llama" and part in heads:
            values = halves(values, heads[part])
        weights[f"model.layers.{layer}.{NAMES[part]}.{suffix}"] = values
    return weights


def halves(rows: Any, heads: int) -> Any:
    """Rows of a q or k projection from llama.cpp's order (rotary pairs side by side) to transformers' (two halves)."""
    import numpy

    pairs = rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:])
    return numpy.ascontiguousarray(pairs.swapaxes(1, 2).reshape(rows.shape))


def _config(file: Path, header: Header) -> dict[str, Any]:
    fields, architecture = header.fields, header.fields["general.architecture"]
    factors = any(tensor.name.startswith("rope_") for tensor in header.tensors)  # Llama 3.1's
    if factors or fields.get(f"{architecture}.rope.scaling.type", "none") != "none":
        raise InputError(f"{file}: scaled rotary positions are not supported")

    def field(key: str) -> Any:
        return fields[f"{architecture}.{key}"]

    width, heads = field("embedding_length"), field("attention.head_count")
    return {
        "architectures": [ARCHITECTURES[architecture]],
        "model_type": architecture,
        "dtype": "float32",
        "vocab_size": len(fields["tokenizer.ggml.tokens"]),
        "hidden_size": width,
        "intermediate_size": field("feed_forward_length"),
        "num_hidden_layers": field("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": fields.get(f"{architecture}.attention.head_count_kv", heads),
        "head_dim": fields.get(f"{architecture}.attention.key_length", width // heads),
        "max_position_embeddings": field("context_length"),
        "rms_norm_eps": field("attention.layer_norm_rms_epsilon"),
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": fields.get(f"{architecture}.rope.freq_base", 10000.0),
        },
        "hidden_act": "silu",
        "tie_word_embeddings": all(tensor.name != "output.weight" for tensor in header.tensors),
        "bos_token_id": fields.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
    }


def _tokenizer(file: Path, fields: dict[str, Any]) -> Any:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    kind, split = fields["tokenizer.ggml.model"], fields.get("tokenizer.ggml.pre")
    splits = {
        "smollm": [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)],
        "qwen2": [
            pre_tokenizers.Split(Regex(QWEN2_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ],
    }
    if kind != "gpt2" or split not in splits:
        raise InputError(f"{file}: tokenizer {kind}/{split} is none of {', '.join(f'gpt2/{name}' for name in splits)}")
    tokens = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(splits[split])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens(
        [
            AddedToken(token, special=type_ == CONTROL, normalized=False)
            for token, type_ in zip(tokens, fields["tokenizer.ggml.token_type"], strict=True)
            if type_ in (CONTROL, USER_DEFINED)
        ]
    )
    return tokenizer


def _tokenizer_config(fields: dict[str, Any]) -> dict[str, Any]:
    names = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    ids = {name: fields.get(f"tokenizer.ggml.{key}_token_id") for name, key in names.items()}
    tokens = {name: fields["tokenizer.ggml.tokens"][id_] for name, id_ in ids.items() if id_ is not None}
    return {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **tokens}


def write_settings(file: Path, value: dict[str, Any]) -> None:
    """Writes a JSON file of a model's folder, with the same bytes for the same settings."""
    file.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
