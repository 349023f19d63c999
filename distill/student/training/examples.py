"""The training examples: every row rendered, checked and counted before the training begins."""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from distill.machine import pool
from distill.records import jsonl, shards
from distill.records.faults import InputError
from distill.records.shards import Shard
from distill.records.types import Params, Row
from distill.student.render import IGNORED, TokenSequence, learns_calls, render
from distill.student.template import Unrenderable
from distill.student.tokenizer import Tokenizer, load_tokenizer
from distill.student.training.validation import held_out_prompts

SHARD = 2**20
"""Bytes of rows that a process renders at a time: with forty turns each they take some two seconds."""


@dataclass(frozen=True)
class Examples:
    """Training and validation sequences of one data set, with its counts."""

    train: list[TokenSequence]
    validation: list[TokenSequence]
    rows: int
    validation_rows: int
    teachers: Sequence[str] = ()
    """Those of the rows, in order."""

    @property
    def tokens(self) -> int:
        """Tokens of one epoch."""
        return sum(len(sequence.input_ids) for sequence in self.train)

    @property
    def labelled_tokens(self) -> int:
        """Tokens of one epoch that are learned."""
        return sum(len(sequence.labels) - sequence.labels.count(IGNORED) for sequence in self.train)


def prepare(source: Path | str, student: Params, unreadable: str | None, workers: int) -> Examples:
    """Renders the rows of a file, in several processes where it is large, and holds out validation prompts.

    No row is ever cut. `unreadable`: why nobody could read a call of the student's, if so. Raises InputError with every
    fault: no rows, a row that is none or cannot be rendered, that holds nothing to learn, or that is longer than
    `student.max_length` tokens; and with `unreadable` where a row calls tools.
    """
    setting = student["path"], student["template"], student["max_length"], unreadable
    faults: list[str] = []
    teachers: set[str] = set()
    rendered: dict[str, list[list[TokenSequence]]] = {}
    for rows, row_faults in pool.run(_renderer, setting, shards.split(source, SHARD), workers):
        faults += row_faults
        for row in rows:
            teachers.add(row.teacher)
            rendered.setdefault(row.prompt_id, []).append(row.sequences)
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
        teachers=sorted(teachers),
    )


class _Row(NamedTuple):
    """What is left of a row."""

    prompt_id: str
    teacher: str
    sequences: list[TokenSequence]


def _renderer(
    path: str, template: str | None, max_length: int, unreadable: str | None
) -> Callable[[Shard], tuple[list[_Row], list[str]]]:
    """Makes the function that gives the rendered rows of a shard, and its faults."""
    tokenizer = load_tokenizer(path, template)

    def rendered(shard: Shard) -> tuple[list[_Row], list[str]]:
        rows: list[_Row] = []
        found: list[tuple[int, str]] = []
        for place, text in shards.texts(shard):
            row, faults = jsonl.parse(text, "row")
            if not faults and unreadable and learns_calls(row):
                raise InputError(unreadable)
            try:
                if not faults:
                    packed = [_packed(sequence) for sequence in sequences(row, tokenizer, max_length)]
                    rows.append(_Row(row["prompt_id"], row["teacher"], packed))
            except Unrenderable as error:
                faults = [str(error)]
            found += [(place, fault) for fault in faults]
        return rows, shards.located(shard, found)

    return rendered


def _packed(sequence: TokenSequence) -> TokenSequence:
    """The sequence in 8 bytes a token, where lists take 48."""
    return TokenSequence(array("i", sequence.input_ids), array("i", sequence.labels))


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
