"""`make render`: prints a row of data/train.jsonl as the student sees it, and highlights the tokens that it learns."""

import argparse
import os
from pathlib import Path

from distill.project import stage
from distill.project.terminal import is_live, plain
from distill.records import jsonl
from distill.records.faults import InputError
from distill.records.types import Params
from distill.student.render import IGNORED, TokenSequence, render
from distill.student.template import Unrenderable
from distill.student.tokenizer import Tokenizer, load_tokenizer

ROWS = Path("data/train.jsonl")
COLOUR, MARKS = ("\x1b[30;42m", "\x1b[0m"), ("⟦", "⟧")


def spans(sequence: TokenSequence) -> list[tuple[bool, list[int]]]:
    """The sequence in spans of learned and not learned tokens: (learned, ids), in order."""
    parts: list[tuple[bool, list[int]]] = []
    for id_, label in zip(sequence.input_ids, sequence.labels, strict=True):
        learned = label != IGNORED
        if not parts or parts[-1][0] != learned:
            parts.append((learned, []))
        parts[-1][1].append(id_)
    return parts


def highlighted(sequence: TokenSequence, tokenizer: Tokenizer, colour: bool) -> str:
    """The text of a sequence; learned tokens on green, or between ⟦ and ⟧."""
    start, end = COLOUR if colour else MARKS
    parts = ((learned, plain(tokenizer.decode(ids))) for learned, ids in spans(sequence))
    return "".join(f"{start}{text}{end}" if learned else text for learned, text in parts)


def main(params: Params) -> None:
    """Prints the row whose line number is given, one block per sequence. Raises InputError if there is none."""
    parser = argparse.ArgumentParser(
        prog="make render ROW=N, which is python -m distill.commands.render", description=__doc__
    )
    parser.add_argument("row", nargs="?", type=int, default=1, help=f"line of {ROWS}; default: the first")
    row_line = parser.parse_args().row
    if not ROWS.is_file():
        raise InputError(f"{ROWS}: no such file; run `make data` first")
    row, last = None, 0
    for last, here in jsonl.read_numbered(ROWS, "row"):
        if last == row_line:
            row = here
            break
    if row is None:
        raise InputError(f"{ROWS}: there is no line {row_line}, the last one is {last}")
    student = params["student"]
    tokenizer = load_tokenizer(student["path"], student["template"])
    try:
        sequences = render(row, tokenizer)
    except Unrenderable as error:
        raise InputError(f"{ROWS}:{row_line}: {error}") from None
    if not sequences:
        raise InputError(f"{ROWS}:{row_line}: /messages: nothing to learn from: weight 0 on all turns of the assistant")
    colour = is_live() and not os.environ.get("NO_COLOR")
    for number, sequence in enumerate(sequences, start=1):
        learned = sum(label != IGNORED for label in sequence.labels)
        part = f", sequence {number} of {len(sequences)}" if len(sequences) > 1 else ""
        print(f"{ROWS}:{row_line}{part}: {len(sequence.input_ids)} tokens, {learned} of them learned\n")
        print(highlighted(sequence, tokenizer, colour) + "\n")


if __name__ == "__main__":
    stage.run(main)
