"""Tokens that a base never learned to write. LoRA does not change the output matrix, so what has the same row in it as
another token gets the same probability, whatever the adapter learns: Qwen2.5-Coder has thousands such, `<tool_call>` among
them, and Llama 3's base has `<|eot_id|>`.
"""

from pathlib import Path
from typing import Any

from distill.records.faults import InputError
from distill.student.render import TokenSequence

SAME = 0.01
"""Distance between two rows, as a part of a usual row's length, up to which they are one. Special tokens that SmolLM2 and
Qwen2.5-Coder were trained with are 0.12 and more from the next; each untrained one of Qwen2.5-Coder has hundreds within
0.001."""
AT_ONCE = 16384
"""Rows that are compared at once: they are copied to fp32."""


def refuse_untrained(model: Any, directory: Path, name: str, sequences: list[TokenSequence]) -> None:
    """Raises InputError, with every such token, where `sequences` have the student learn added tokens (calls, ends of
    turns) that the base in `directory` cannot tell from others; `name` is its `student.path`.
    """
    from tokenizers import Tokenizer

    added = Tokenizer.from_file(str(directory / "tokenizer.json")).get_added_tokens_decoder()
    learned = sorted(added.keys() & {label for sequence in sequences for label in sequence.labels})
    head = model.get_output_embeddings()
    if head is None or head.weight.is_meta or not learned:  # meta: the first process has the weights, and refuses
        return
    same = twins(head.weight.detach(), learned)
    if not same:
        return
    tokens = ", ".join(repr(added[id_].content) for id_ in same)
    raise InputError(
        f"params.yaml: /student/path: {name} has never learned to write {tokens}, with which its chat template has the"
        f" student call tools or end turns: they are the same to it as up to {max(same.values())} other tokens (equal rows"
        " of its output matrix), and an adapter cannot change that. Name a student.template that does without them"
        " (qwen2.5-coder for Qwen2.5-Coder), or a base that was trained with them, such as the model's instruct version"
    )


def twins(output: Any, ids: list[int]) -> dict[int, int]:
    """How many other tokens have the same row of an output matrix (vocabulary x width) as each of `ids`; only those that
    have one."""
    import torch

    rows, parts = output[ids].float(), output.split(AT_ONCE)
    limit = SAME * torch.cat([part.float().norm(dim=1) for part in parts]).median()
    counts = torch.stack([(torch.cdist(rows, part.float()) <= limit).sum(dim=1) for part in parts]).sum(dim=0).tolist()
    return {id_: count - 1 for id_, count in zip(ids, counts, strict=True) if count > 1}
