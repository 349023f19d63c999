"""The filter's two files: rows that stay, and rows that do not with their reasons. Each row goes into one of them."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import orjson

from distill.answers import judge
from distill.dataset.shard_rows import Rulings
from distill.dataset.verdict import Verdict, masked
from distill.records import jsonl, shards
from distill.records.atomic import replacing
from distill.records.shards import Shard


def write(source: Iterable[Shard], verdicts: Sequence[Verdict], rulings: Rulings, kept: str, rejected: str) -> None:
    """Writes the rows of the shards, in order; no file for rows that stay when there are none.

    A row that stays as it is was validated when it was read, and is copied byte for byte; any other is validated anew.
    Raises ValueError where there are not as many rows as verdicts: none is lost in silence.
    """
    with ExitStack() as files:
        rejects = files.enter_context(replacing(rejected))
        stay = not all(found.reasons for found in verdicts)
        stayed = files.enter_context(replacing(kept)) if stay else None
        texts = (text for shard in source for _, text in shards.texts(shard))
        for text, found in zip(texts, verdicts, strict=True):
            if found.reasons:
                row = {**_row(text, rulings), "reasons": found.reasons}
                rejects.write(jsonl.line(row, "rejected", rejected))
            elif stayed:
                plain = not found.turns and not rulings
                stayed.write(
                    text + b"\n" if plain else jsonl.line(masked(_row(text, rulings), found.turns), "row", kept)
                )


def _row(text: bytes, rulings: Rulings) -> dict[str, Any]:
    return next(judge.ruled([orjson.loads(text)], rulings))
