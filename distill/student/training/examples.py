"""The training examples: every row rendered, checked and counted before the training begins."""

from collections.abc import Iterable
from dataclasses import dataclass

from distill.records.faults import InputError
from distill.records.types import Row
from distill.student.render import IGNORED, TokenSequence, render
from distill.student.template import Unrenderable
from distill.student.tokenizer import Tokenizer
from distill.student.training.validation import held_out_prompts


@dataclass(frozen=True)
class Examples:
    """Training and validation sequences of one data set, with its counts."""

    train: list[TokenSequence]
    validation: list[TokenSequence]
    rows: int
    validation_rows: int

    @property
    def tokens(self) -> int:
        """Tokens of one epoch."""
        return sum(len(sequence.input_ids) for sequence in self.train)

    @property
    def labelled_tokens(self) -> int:
        """Tokens of one epoch that are learned."""
        return sum(label != IGNORED for sequence in self.train for label in sequence.labels)


def prepare(rows: Iterable[tuple[int, Row]], source: str, tokenizer: Tokenizer, max_length: int) -> Examples:
    """Renders the numbered rows of the file `source` and holds out validation prompts.

    No row is ever cut. Raises InputError with every fault: no rows, a row that cannot be rendered, that holds
    nothing to learn, or that is longer than `max_length` tokens.
    """
    faults: list[str] = []
    rendered: dict[str, list[list[TokenSequence]]] = {}
    for line, row in rows:
        try:
            rendered.setdefault(row["prompt_id"], []).append(sequences(row, tokenizer, max_length))
        except Unrenderable as error:
            faults.append(f"{source}:{line}: {error}")
    if faults:
        raise InputError(faults)
    if not rendered:
        raise InputError(
            f"{source}: no rows, so there is nothing to train on; see the filter's report for what was rejected"
        )
    held_out = held_out_prompts(rendered)
    train = [row for prompt, kept in rendered.items() if prompt not in held_out for row in kept]
    validation = [row for prompt, kept in rendered.items() if prompt in held_out for row in kept]
    return Examples(
        train=[sequence for row in train for sequence in row],
        validation=[sequence for row in validation for sequence in row],
        rows=len(train),
        validation_rows=len(validation),
    )


def sequences(row: Row, tokenizer: Tokenizer, max_length: int) -> list[TokenSequence]:
    """The sequences of a row as they are trained on. Raises Unrenderable, also for a row that holds nothing to learn or
    is longer than `max_length` tokens."""
    rendered = render(row, tokenizer)
    if not rendered:
        raise Unrenderable("/messages: nothing to learn from: no assistant turn, or weight 0 on all of them")
    longest = max(len(sequence.input_ids) for sequence in rendered)
    if longest > max_length:
        raise Unrenderable(
            f"/messages: {longest} tokens, more than student.max_length = {max_length}; rows are never cut"
        )
    return rendered
