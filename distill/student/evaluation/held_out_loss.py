"""The student's loss on the teacher's rollouts of held-out prompts, which training never saw."""

from pathlib import Path
from typing import Any

from distill.records.spoken import unlearned
from distill.records.types import Rollout
from distill.student import base
from distill.student.device import free_memory, is_out_of_memory
from distill.student.render import IGNORED, TokenSequence, render
from distill.student.serving.loaded import Loaded
from distill.student.template import Unrenderable
from distill.student.tokenizer import read_tokenizer, template_of

ROLLOUTS = 16
"""Enough to tell a loss of 0.1 from one of 0.2; each costs a forward pass of base and of student."""


def loss(rollouts: list[Rollout], path: str, adapter: Path) -> dict[str, Any] | None:
    """Nats per learned token of base and student on the first completed rollouts of the teacher, rendered with the
    adapter's template. None where none is completed, can be rendered, and fits the student's context and memory."""
    tokenizer = read_tokenizer(adapter, template_of(adapter))
    rows: list[list[TokenSequence]] = []
    for rollout in rollouts:
        try:
            row = {"messages": unlearned(rollout), "tools": rollout["tools"]}
            sequences = render(row, tokenizer) if rollout["status"] == "completed" else []
        except Unrenderable:  # such as a call that is not JSON: the filter would have rejected it
            continue
        if sequences:
            rows.append(sequences)
        if len(rows) == ROLLOUTS:
            break
    if not rows:
        return None
    print(f"evaluate: measures the loss of base and student on {len(rows)} rollouts of the teacher", flush=True)
    free_memory()  # of the model that answered the exam
    loaded = Loaded(base.of_adapter(adapter, path).directory, adapter)
    rows = [row for row in rows if all(len(sequence.input_ids) <= loaded.context for sequence in row)]
    while rows:
        if losses := _measured(rows, loaded):
            return losses
        free_memory()
        rows.remove(max(rows, key=lambda row: max(len(sequence.input_ids) for sequence in row)))
    return None


def _measured(rows: list[list[TokenSequence]], loaded: Loaded) -> dict[str, Any] | None:
    """The result of `loss`; None where the card's memory does not hold the longest row."""
    sequences = [sequence for row in rows for sequence in row]
    try:
        return {
            "rollouts": len(rows),
            "tokens": sum(label != IGNORED for sequence in sequences for label in sequence.labels),
            "base": round(loaded.loss(sequences, adapted=False), 4),
            "student": round(loaded.loss(sequences, adapted=True), 4),
        }
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None
