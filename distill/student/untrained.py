"""Finds tokens that a base was never trained to output.

LoRA does not train the output matrix, so tokens with equal rows in it get equal probabilities, whatever the adapter
learns. Qwen2.5-Coder has thousands of such tokens, `<tool_call>` among them, and Llama 3's base has `<|eot_id|>`.
"""

from typing import Any

from distill.records.faults import InputError
from distill.student.base import Base
from distill.student.render import TokenSequence

SAME = 0.01
"""Distance between two rows, as a share of the median row's length, up to which they count as equal. Special tokens that
SmolLM2 and Qwen2.5-Coder were trained with are 0.12 and more from the next; each untrained one of Qwen2.5-Coder has
hundreds within 0.001."""
AT_ONCE = 16384
"""Rows that are compared at once, since they are copied to fp32."""


def refuse_untrained(model: Any, base: Base, sequences: list[TokenSequence]) -> None:
    """Raises InputError where the student would learn tokens from `sequences` that its base, loaded as `model`, was never
    trained to output. Only added tokens are looked at (calls, ends of turns)."""
    from tokenizers import Tokenizer

    added = Tokenizer.from_file(str(base.directory / "tokenizer.json")).get_added_tokens_decoder()
    learned = sorted(added.keys() & {label for sequence in sequences for label in sequence.labels})
    head = model.get_output_embeddings()
    if head is None or head.weight.is_meta or not learned:  # meta: the first process has the weights, and refuses
        return
    untrained = twins(head.weight.detach(), learned)
    if not untrained:
        return
    tokens = ", ".join(repr(added[id_].content) for id_ in untrained)
    raise InputError(
        f"params.yaml: /student/path: {base.name} was never trained to output {tokens}, which its chat template needs: its"
        f" output matrix has the same row for them and up to {max(untrained.values())} others, and LoRA does not train"
        " that matrix. Name a student.template that does without them (qwen2.5-coder for Qwen2.5-Coder), or a base that"
        " was trained with them, such as the model's instruct version"
    )


def twins(output: Any, ids: list[int]) -> dict[int, int]:
    """How many other tokens have the same row in an output matrix (vocabulary x width) as each of `ids`; without the ids
    whose row is unique."""
    import torch

    rows, parts = output[ids].float(), output.split(AT_ONCE)
    limit = SAME * torch.cat([part.float().norm(dim=1) for part in parts]).median()
    counts = torch.stack([(torch.cdist(rows, part.float()) <= limit).sum(dim=1) for part in parts]).sum(dim=0).tolist()
    return {id_: count - 1 for id_, count in zip(ids, counts, strict=True) if count > 1}
