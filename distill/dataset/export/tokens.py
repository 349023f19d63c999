"""Rows as the tokens that our own trainer learns from: `input_ids`, `attention_mask`, `labels`, which every trainer takes.

`labels` is -100 where nothing is to be learned. No template, weight or thought is left to another's reading. The tokens are
those of `student.path` with `student.template`; a row gives several sequences where the template rewrites earlier turns.
"""

from typing import Any

from distill.dataset.export import NotRepresentable
from distill.records.types import Row
from distill.student.template import Unrenderable
from distill.student.tokenizer import Tokenizer
from distill.student.training.examples import sequences


def export(row: Row, tokenizer: Tokenizer, max_length: int) -> list[dict[str, Any]]:
    """The sequences of the row. Raises NotRepresentable for one that our own trainer would refuse."""
    try:
        found = sequences(row, tokenizer, max_length)
    except Unrenderable as error:
        raise NotRepresentable(str(error)) from None
    return [
        {
            "input_ids": sequence.input_ids,
            "attention_mask": [1] * len(sequence.input_ids),
            "labels": sequence.labels,
        }
        for sequence in found
    ]
