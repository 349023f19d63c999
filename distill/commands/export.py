"""`make export FORMAT=openai|sharegpt|hf`: data/train.jsonl for another trainer, under exports/."""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from distill.dataset.export import NotRepresentable, huggingface, openai, sharegpt
from distill.dataset.export.card import card
from distill.records import jsonl, stage
from distill.records.atomic import replacing
from distill.records.faults import InputError
from distill.records.types import Params, Row

TRAIN = Path("data/train.jsonl")
FOLDER = Path("exports")
FILES = {"openai": FOLDER / "openai.jsonl", "sharegpt": FOLDER / "sharegpt.jsonl", "hf": FOLDER / "hf/data/train.jsonl"}
FEWEST_FOR_OPENAI = 10
"""OpenAI refuses a file with fewer rows."""


def main(params: Params) -> None:
    """Writes the files of the format, and prints what was left out. Raises InputError when no row fits the format."""
    parser = argparse.ArgumentParser(prog="python -m distill.commands.export", description=__doc__)
    parser.add_argument("format", choices=FILES)
    chosen = parser.parse_args().format
    losses: Counter[str] = Counter()
    count = _write(FILES[chosen], _exported(_exporter(chosen), losses, keeps_thoughts=chosen == "hf"))
    for loss, rows in losses.most_common():
        print(f"export: {rows} rows {loss}")
    if not count:
        FILES[chosen].unlink()
        raise InputError(f"nothing exported: no row of {TRAIN} can be represented in this format")
    if chosen == "hf":
        with replacing(FOLDER / "hf/README.md") as file:
            file.write(card(TRAIN, _rows(), params).encode())
    if chosen == "sharegpt":
        with replacing(FOLDER / "dataset_info.json") as file:
            file.write(jsonl.dumps(sharegpt.DATASET_INFO) + b"\n")
    if chosen == "openai" and count < FEWEST_FOR_OPENAI:
        print(f"export: OpenAI takes files of {FEWEST_FOR_OPENAI} rows or more")
    print(f"export: {count} rows -> {FOLDER / 'hf' if chosen == 'hf' else FILES[chosen]}")


def _exporter(format_: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    if format_ == "openai":
        parallel = any(openai.calls_in_parallel(row) for row in _rows())
        return lambda row: openai.export(row, parallel)
    return {"sharegpt": sharegpt.export, "hf": huggingface.export}[format_]


def _rows() -> Iterator[Row]:
    if not TRAIN.is_file():
        raise InputError(f"{TRAIN}: no such file; `make data` writes it")
    return jsonl.read(TRAIN, "row")


def _exported(
    export: Callable[[dict[str, Any]], dict[str, Any]], losses: Counter[str], keeps_thoughts: bool
) -> Iterator[dict[str, Any]]:
    """The rows in the format; `losses` counts the rows of which it cannot represent all, or anything."""
    for row in _rows():
        try:
            yield export(row)
        except NotRepresentable as reason:
            losses[f"left out: {reason}"] += 1
            continue
        if not keeps_thoughts and any(message.get("reasoning_content") for message in row["messages"]):
            losses["without the teacher's thoughts, for which there is no place"] += 1


def _write(path: Path, rows: Iterator[Row]) -> int:
    count = 0
    with replacing(path) as file:
        for count, row in enumerate(rows, start=1):  # noqa: B007 - the last number is the count
            file.write(jsonl.dumps(row) + b"\n")
    return count


if __name__ == "__main__":
    stage.run(main)
