"""The filter's two files: rows that stay, and rows that do not with their reasons. Each row goes into one of them."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import orjson

from distill.dataset import judge
from distill.dataset.shard_rows import Rulings
from distill.dataset.verdict import Verdict, masked
from distill.records import jsonl, shards
from distill.records.atomic import replacing


def write(source: str, verdicts: Sequence[Verdict], rulings: Rulings, kept: str, rejected: str) -> None:
    """Writes the rows of `source`, in order; no file for rows that stay when there are none.

    A row that stays as it is was validated when it was read, and is copied byte for byte; any other is validated anew.
    """
    stay = sum(not found.reasons for found in verdicts)
    counts = [0, 0]
    with ExitStack() as files:
        rejects = files.enter_context(replacing(rejected))
        stayed = files.enter_context(replacing(kept)) if stay else None
        for texts in _blocks(source, verdicts):
            for text, found in texts:
                counts[bool(found.reasons)] += 1
                if found.reasons:
                    row = {**_row(text, rulings), "reasons": found.reasons}
                    rejects.write(jsonl.line(row, "rejected", rejected))
                elif stayed:
                    plain = not found.turns and not rulings
                    stayed.write(
                        text + b"\n" if plain else jsonl.line(masked(_row(text, rulings), found.turns), "row", kept)
                    )
        if counts != [stay, len(verdicts) - stay]:
            raise AssertionError(f"{len(verdicts)} rows came in; {counts[0]} kept + {counts[1]} rejected went out")


def _blocks(source: str, verdicts: Sequence[Verdict]) -> Iterator[Iterator[tuple[bytes, Verdict]]]:
    following = iter(verdicts)
    for shard in shards.split(source):
        texts = [text for _, text in shards.texts(shard)]
        yield zip(texts, (next(following) for _ in texts), strict=True)


def _row(text: bytes, rulings: Rulings) -> dict[str, Any]:
    return next(judge.ruled([orjson.loads(text)], rulings))
