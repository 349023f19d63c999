"""Writes a model as one GGUF file for llama.cpp and the programs built on it (Ollama, LM Studio).

Weights in Q8_0 (eight bits in blocks of 32, almost without loss), small tensors in F32, with tokenizer and chat template.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distill.records.faults import InputError
from distill.student.gguf.from_gguf import CONTROL, QWEN2_PATTERN, USER_DEFINED
from distill.student.gguf.lora import finish, pairs
from distill.student.gguf.names import ARCHITECTURES, OUTSIDE, PARTS

NORMAL, UNUSED = 1, 5  # tokenizer.ggml.token_type, gguf specification
BLOCK = 32
"""Values that Q8_0 quantises together: rows of another length stay in F32."""
LLAMA3_DIGITS, QWEN_DIGITS = r"\p{N}{1,3}", r"|\p{N}|"


def write(folder: Path, file: Path) -> None:
    """Writes the model that transformers saved in `folder` (whole, with its tokenizer and chat_template.jinja) as GGUF.

    Equal models give equal bytes. Raises InputError for an architecture, a rotary scaling or a tokenizer that is not
    supported; llama.cpp's own convert_hf_to_gguf.py may support it.
    """
    from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, quantize

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    _refuse_unsupported(folder, config)
    unfinished = file.with_name(f".{file.name}.unfinished")
    writer = GGUFWriter(unfinished, config["model_type"], use_temp_file=True)
    _describe(writer, config)
    writer.add_file_type(LlamaFileType.MOSTLY_Q8_0)
    _add_tokenizer(writer, folder, config)
    for name, values in _tensors(folder, config):
        whole = values.ndim == 1 or values.shape[-1] % BLOCK
        kind = GGMLQuantizationType.F32 if whole else GGMLQuantizationType.Q8_0
        writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)
    finish(writer)
    unfinished.rename(file)


def _refuse_unsupported(folder: Path, config: dict[str, Any]) -> None:
    """Raises InputError."""
    elsewhere = "; try llama.cpp's convert_hf_to_gguf.py on models/merged"
    if config["model_type"] not in ARCHITECTURES:
        raise InputError(f"{folder}: a {config['model_type']} is none of {', '.join(ARCHITECTURES)}{elsewhere}")
    scaling = config["rope_parameters"].get("rope_type", "default")
    if scaling != "default" and (config["model_type"], scaling) != ("llama", "llama3"):
        raise InputError(f"{folder}: rotary positions scaled as {scaling} are not written here{elsewhere}")


def _rope_factors(config: dict[str, Any]) -> Any:
    """What llama.cpp divides the rotary frequencies by, where they are scaled as Llama 3.1's are: the slow ones by a factor,
    the fast ones not, those between them by something between."""
    import numpy

    rope = config["rope_parameters"]
    width = config["head_dim"]
    lengths = 2 * numpy.pi * rope["rope_theta"] ** (numpy.arange(0, width, 2) / width)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    fast = (rope["original_max_position_embeddings"] / lengths - low) / (high - low)
    return (1 / (1 / rope["factor"] + (1 - 1 / rope["factor"]) * fast.clip(0, 1))).astype(numpy.float32)


def _describe(writer: Any, config: dict[str, Any]) -> None:
    heads = config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def _add_tokenizer(writer: Any, folder: Path, config: dict[str, Any]) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    tokens = [f"[PAD{id_}]" for id_ in range(config["vocab_size"])]
    types = [UNUSED] * config["vocab_size"]
    for token, id_ in tokenizer["model"]["vocab"].items():
        tokens[id_], types[id_] = token, NORMAL
    for token in tokenizer["added_tokens"]:
        tokens[token["id"]] = token["content"]
        types[token["id"]] = CONTROL if token["special"] else USER_DEFINED
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_split(folder, tokenizer))
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    ids = {token: id_ for id_, token in enumerate(tokens)}
    for name, add in (("bos_token", writer.add_bos_token_id), ("pad_token", writer.add_pad_token_id)):
        token = settings.get(name)
        if token:
            add(ids[token["content"] if isinstance(token, dict) else token])
    ends = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))["eos_token_id"]
    writer.add_eos_token_id(ends[-1] if isinstance(ends, list) else ends)
    writer.add_add_bos_token(False)  # the template writes it
    writer.add_chat_template((folder / "chat_template.jinja").read_text(encoding="utf-8"))


def _split(folder: Path, tokenizer: dict[str, Any]) -> str:
    """llama.cpp's name for how the tokenizer splits text before BPE."""
    steps = tokenizer["pre_tokenizer"] or {}
    steps = steps.get("pretokenizers", [steps])
    patterns = [step["pattern"].get("Regex", "") for step in steps if step.get("type") == "Split"]
    kinds = [step.get("type") for step in steps]
    if kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits"):
        return "smollm"
    if QWEN2_PATTERN in patterns or any(QWEN_DIGITS in pattern for pattern in patterns):
        return "qwen2"
    if any(LLAMA3_DIGITS in pattern for pattern in patterns):
        return "llama-bpe"
    if tokenizer["model"]["type"] == "BPE" and kinds == ["ByteLevel"]:
        return "gpt-2"
    raise InputError(f"{folder}/tokenizer.json: no name of llama.cpp's is known for how it splits text")


def _tensors(folder: Path, config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names and values (F32) as llama.cpp has them, in the order of the files; one at a time is in memory."""
    from safetensors import safe_open

    heads = {"self_attn.q_proj": config["num_attention_heads"], "self_attn.k_proj": config["num_key_value_heads"]}
    if config["rope_parameters"].get("rope_type") == "llama3":
        yield "rope_freqs.weight", _rope_factors(config)
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as stored:
            for name in sorted(stored.keys()):
                values = stored.get_tensor(name).float().numpy()
                place, suffix = name.rsplit(".", 1)
                if place in OUTSIDE:
                    if place != "lm_head" or not config.get("tie_word_embeddings"):
                        yield f"{OUTSIDE[place]}.{suffix}", values
                    continue
                layer, part = place.removeprefix("model.layers.").split(".", 1)
                if config["model_type"] == "llama" and part in heads:
                    values = pairs(values, heads[part])
                yield f"blk.{layer}.{PARTS[part]}.{suffix}", values
