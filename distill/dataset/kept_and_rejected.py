"""The filter's two files: the kept rows, and the rejected rows with their reasons. Each row goes into one of them."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack

import orjson

from distill.answers import judge
from distill.answers.judge import Rulings
from distill.dataset.row_groups import RowGroups, learned
from distill.dataset.verdict import Verdict, masked
from distill.records import jsonl, shards
from distill.records.atomic import replacing
from distill.records.shards import Shard


def write(
    source: Iterable[Shard], verdicts: Sequence[Verdict], rulings: Rulings, kept: str, rejected: str
) -> RowGroups:
    """Writes the rows of the shards, in order, to the files `kept` and `rejected`; no file `kept` when no row is kept.
    Returns the groups of the rejected rows, and of the tools that masked turns call.

    A kept row without changes was validated when it was read, and is copied byte for byte; any other is validated anew.
    Raises ValueError where there are not as many rows as verdicts: no row is lost in silence.
    """
    lost = RowGroups()
    with ExitStack() as files:
        rejected_file = files.enter_context(replacing(rejected))
        keeps_any = not all(verdict.reasons for verdict in verdicts)
        kept_file = files.enter_context(replacing(kept)) if keeps_any else None
        texts = (text for shard in source for _, text in shards.texts(shard))
        for text, verdict in zip(texts, verdicts, strict=True):
            if verdict.reasons:
                row = judge.ruled(orjson.loads(text), rulings)
                lost.add(row)
                rejected_file.write(jsonl.line({**row, "reasons": verdict.reasons}, "rejected", rejected))
            elif kept_file and not verdict.turns and not rulings:
                kept_file.write(text + b"\n")
            elif kept_file:
                row = judge.ruled(orjson.loads(text), rulings)
                masked_row = masked(row, verdict.turns)
                lost.add_tools(learned(row) - learned(masked_row))
                kept_file.write(jsonl.line(masked_row, "row", kept))
    return lost
