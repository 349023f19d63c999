"""The chat templates of the families of students, and a tokenizer that can say all of them."""

import json
from pathlib import Path

from tiny_rows import row

from distill.student.tokenizer import template_text

SPECIAL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>",
    "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|turn>", "<turn|>", "<|tool_call>",
    "<tool_call|>", "<|tool_response>", "<tool_response|>", "<|channel>", "<channel|>", '<|"|>',
]  # fmt: skip
ENDS = {
    "llama": ("<|begin_of_text|>", "<|eot_id|>"), "gemma4": ("<bos>", "<turn|>", "<|tool_response>"),
    "gemma": ("<bos>", "<end_of_turn>"), "lfm2": ("<bos>", "<|im_end|>"), "": (None, "<|im_end|>"),
}  # fmt: skip
"""The token that begins a text, and those that end a turn."""
AT_ONCE = {"llama3": 0, "gemma3": 0, "llama3_1": 1, "llama3_2": 1}
"""Calls that a template takes in one turn, where it is not any number; 0: it knows no tools."""
SILENT = {"gemma4", "gemma4_v5"}
"""Templates that write the text of a turn with calls behind the results, and then open no turn for what comes next."""


def own(family: str) -> str:
    """The template that the models of a family come with, from TRL's collection."""
    import trl

    return (Path(trl.__file__).parent / "chat_templates" / f"{family}.jinja").read_text(encoding="utf-8")


def bundled(family: str) -> str:
    return template_text(family)


def marks(family: str) -> tuple[str | None, ...]:
    return next(tokens for name, tokens in ENDS.items() if family.startswith(name))


def write_tokenizer(folder: Path, family: str) -> Path:
    """A byte-level tokenizer with the special tokens of all families, set up as the family's models are."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    encoder = Tokenizer(models.BPE())
    encoder.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    encoder.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=900,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    corpus = [own("qwen3"), bundled("qwen3"), json.dumps(row(1)), "Answer: 44 Let me see."]
    encoder.train_from_iterator(corpus, trainer)
    bos, *ends = marks(family)
    folder.mkdir(parents=True, exist_ok=True)
    encoder.save(str(folder / "tokenizer.json"))
    settings = {"bos_token": bos, "eos_token": ends[0], "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "generation_config.json").write_text(
        json.dumps({"eos_token_id": [encoder.token_to_id(end) for end in ends]})
    )
    return folder


FAMILIES = [(own, name) for name in ("qwen2_5", "qwen3", "qwen3_instruct_2507", "llama3_1", "llama3_2")]
FAMILIES += [(bundled, name) for name in ("smollm2", "qwen2.5-coder", "qwen3", "llama3", "gemma3")]
"""Templates that write calls as JSON."""
TYPED_BY_SCHEMA = ["qwen3_5_think", "qwen3_5_nothink", "qwen3_8", "glm4moe"]
AS_CODE = ["lfm2_v2", "lfm2_2_5", "gemma4", "gemma4_v5"]
