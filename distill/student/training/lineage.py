"""The lineage of an adapter: the training report and the model card. Neither contains a time, a machine or a path."""

from importlib.metadata import version
from typing import Any

from distill.records.types import Params
from distill.student.base import Base
from distill.student.training.examples import Examples
from distill.student.training.train import Trained

LICENCE = (
    "The adapter is derived from its base and from the teacher's answers. Before you publish it, read the licence of"
    " the base and the terms of the teacher's provider: some do not allow training other models on their output."
)

USE = """Render prompts with `chat_template.jinja` of this folder: it is the one that was trained with. The adapter loads with
`PeftModel.from_pretrained` over the base, and in vLLM with `--enable-lora --lora-modules student=FOLDER --chat-template
FOLDER/chat_template.jinja`. `adapter.gguf`, where it is, is the same adapter for llama.cpp."""
MERGED_USE = """The folder is a whole model, which needs neither its base nor peft, and no template beside its own
`chat_template.jinja`, which is the one that was trained with. It loads in transformers:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("FOLDER", dtype="auto")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
```

In vLLM it is `vllm serve FOLDER`, with `--enable-auto-tool-choice` and the `--tool-call-parser` of the base."""
MERGED = {
    "library_name: peft": "library_name: transformers",
    "tags: [lora, ": "tags: [",
    "A LoRA adapter for ": "A model of its own, merged from a LoRA adapter and its base ",
    USE: MERGED_USE,
    "The adapter is derived": "The model is derived",
}
"""What the card of the merged model says in place of the adapter's."""


def report(examples: Examples, trained: Trained, base: Base, data: str, thoughts: bool) -> dict[str, Any]:
    """reports/training.json; `data` is the SHA-256 of the training rows, `thoughts` whether those of the teacher are
    learned. Token counts are those of one epoch."""
    return {
        "base": base.name,
        "base_commit": base.commit,
        "teachers": list(examples.teachers),
        "rows": examples.rows,
        "validation_rows": examples.validation_rows,
        "tokens": examples.tokens,
        "labels": examples.labelled_tokens,
        "epochs": trained.epochs,
        "steps": trained.log[-1]["step"],
        "loss_first": trained.log[0]["loss"],
        "loss_last": trained.log[-1]["loss"],
        "validation_loss": trained.validation_loss,
        "trainable": trained.trainable,
        "parameters": trained.parameters,
        "data_sha256": data,
        "thoughts_learned": thoughts,
        "validation": trained.validation,
        "versions": {name: version(name) for name in ("torch", "transformers", "trl", "peft")},
    }


def card(record: dict[str, Any], params: Params) -> str:
    """README.md of the adapter's folder, from reports/training.json and the parameters `student:`."""
    left_out = {"path", "template"} | ({"lora_rank"} if params["qlora_rank"] else set())
    shown = {name: value for name, value in params.items() if name not in left_out and value is not None}
    settings = "\n".join(f"| {name} | {value} |" for name, value in shown.items())
    validation = "" if record["validation_loss"] is None else f"| validation loss | {record['validation_loss']:.4f} |\n"
    held_out = f"; {record['validation_rows']} rows held out for validation" if record["validation_rows"] else ""
    from_hub = bool(record["base_commit"])
    commit = f"| commit of the base | {record['base_commit']} |\n" if from_hub else ""
    base_model = f"base_model: {record['base']}\n" if from_hub else ""  # the hub refuses a path there
    return f"""---
{base_model}library_name: peft
pipeline_tag: text-generation
tags: [lora, sft, distillation, tool-use]
---

# A student of {", ".join(record["teachers"])}

A LoRA adapter for {record["base"]}, trained on conversations with tool calls that the teacher had.

| trained on | |
|---|---|
| rows | {record["rows"]}{held_out} |
| tokens of one epoch | {record["tokens"]}, of which {record["labels"]} are learned |
| SHA-256 of data/train.jsonl | {record["data_sha256"]} |
| trained parameters | {record["trainable"]} of {record["parameters"]} |
| loss, first and last step | {record["loss_first"]:.4f}, {record["loss_last"]:.4f} |
{validation}{commit}| versions | {", ".join(f"{name} {number}" for name, number in record["versions"].items())} |

| parameter | value |
|---|---|
{settings}

## Use

{USE}

## Licence

{LICENCE}
"""


def merged_card(card: str) -> str:
    """README.md of the model that base and adapter are merged into, from the adapter's."""
    for of_adapter, of_model in MERGED.items():
        card = card.replace(of_adapter, of_model, 1)
    return card
