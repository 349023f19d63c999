"""A student small enough for tests: a random Llama as a GGUF file, with a real byte-level vocabulary."""

from pathlib import Path
from typing import Any

TEXT = """You work in a small shop. Prices and stock come from lookup_item, sums from calculator. Answer: 44
<call>lookup_item{"sku":"G316"}</call> <call>calculator{"expression":"3 * (4 + 5)"}</call> {"price": 15.3, "stock": 7}
How many are left? What is the price of the item? What do they cost in total? The tool gives name, price and stock."""
LAYERS, WIDTH, HEADS, KV_HEADS, INNER, ROPE = 2, 64, 4, 2, 96, 100000.0


def vocabulary() -> tuple[list[str], list[str]]:
    """Tokens (special ones first) and merges, as GGUF lists them."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    import json

    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    ids = tokenizer.get_vocab()
    return sorted(ids, key=ids.__getitem__), [" ".join(merge) for merge in merges]


def write_gguf(file: Path, context: int = 2048) -> Path:
    """A Llama with random weights: attention in F32, the rest in Q4_1 and Q8_0, as the real student has them."""
    import numpy
    from gguf import GGMLQuantizationType, GGUFWriter, quantize

    tokens, merges = vocabulary()
    writer = GGUFWriter(str(file), "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(context)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(ROPE)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    random = numpy.random.default_rng(0)

    def add(name: str, *shape: int, kind: Any = GGMLQuantizationType.F32) -> None:
        values = random.normal(scale=shape[-1] ** -0.5, size=shape).astype(numpy.float32)
        if len(shape) == 1:
            values = 1 + values
        writer.add_tensor(f"{name}.weight", quantize(values, kind), raw_dtype=kind)

    add("token_embd", len(tokens), WIDTH, kind=GGMLQuantizationType.Q8_0)
    add("output_norm", WIDTH)
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        for norm in ("attn_norm", "ffn_norm"):
            add(f"{block}.{norm}", WIDTH)
        for name, rows in (("attn_q", WIDTH), ("attn_k", WIDTH // 2), ("attn_v", WIDTH // 2), ("attn_output", WIDTH)):
            add(f"{block}.{name}", rows, WIDTH)
        for name, rows, columns in (("ffn_gate", INNER, WIDTH), ("ffn_up", INNER, WIDTH), ("ffn_down", WIDTH, INNER)):
            add(f"{block}.{name}", rows, columns, kind=GGMLQuantizationType.Q4_1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def write_adapter(source: Path, folder: Path) -> None:
    """A random adapter over a GGUF file, with the template of SmolLM2."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from distill.student import adapter, base
    from distill.student.tokenizer import TEMPLATES

    found = base.find(str(source))
    torch.manual_seed(0)
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(found.directory), lora)
    adapter.save(model, found, (TEMPLATES / "smollm2.jinja").read_text(), "A card.", folder)
