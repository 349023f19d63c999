"""`make export FORMAT=openai|sharegpt|hf|tokens`: data/train.jsonl for another trainer, under exports/."""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from distill.dataset.export import NotRepresentable, huggingface, openai, sharegpt, tokens
from distill.dataset.export.card import card
from distill.project import stage
from distill.records import jsonl
from distill.records.atomic import replacing
from distill.records.counted import counted
from distill.records.faults import InputError
from distill.records.types import Params, Row
from distill.student.tokenizer import load_tokenizer

TRAIN = Path("data/train.jsonl")
FOLDER = Path("exports")
FILES = {
    "openai": FOLDER / "openai.jsonl",
    "sharegpt": FOLDER / "sharegpt.jsonl",
    "hf": FOLDER / "hf/data/train.jsonl",
    "tokens": FOLDER / "tokens.jsonl",
}
FEWEST_FOR_OPENAI = 10
"""OpenAI refuses a file with fewer rows."""
MOST_LEFT_OUT = 0.2
"""Share of the rows above which it is said loudly that they are left out."""
MOST_REASONS = 10
KEPT_BY = {
    "sharegpt": "; FORMAT=tokens keeps them for any trainer, FORMAT=openai for those that read `weight`",
    "openai": "; FORMAT=tokens keeps them for any trainer",
    "hf": "; FORMAT=openai keeps them as the teacher wrote them",
}
"""What holds the rows that a format leaves out."""
Export = Callable[[Row], list[dict[str, Any]]]


def main(params: Params) -> None:
    """Writes the files of the format, and prints what was left out. Raises InputError when no row fits the format."""
    parser = argparse.ArgumentParser(prog="python -m distill.commands.export", description=__doc__)
    parser.add_argument("format", choices=FILES)
    chosen = parser.parse_args().format
    losses, left_out = Counter[str](), Counter[str]()
    exported = _exported(_exporter(chosen, params), losses, left_out, keeps_thoughts=chosen in ("hf", "tokens"))
    count = _write(FILES[chosen], exported)
    reasons = left_out.most_common(MOST_REASONS)
    if unsaid := left_out.total() - sum(rows for _, rows in reasons):
        reasons.append(("left out for other reasons", unsaid))
    for loss, rows in [*reasons, *losses.most_common()]:
        print(f"export: {counted(rows, 'row')} {loss}")
    if not count:
        FILES[chosen].unlink()
        raise InputError(f"nothing exported: no row of {TRAIN} can be represented in this format")
    if chosen == "hf":
        with replacing(FOLDER / "hf/README.md") as file:
            file.write(card(TRAIN, _rows(), params).encode())
    if chosen == "sharegpt":
        with replacing(FOLDER / "dataset_info.json") as file:
            file.write(orjson.dumps(sharegpt.DATASET_INFO) + b"\n")
    if chosen == "openai" and count < FEWEST_FOR_OPENAI:
        print(f"export: OpenAI takes files of {FEWEST_FOR_OPENAI} rows or more")
    what = "sequences" if chosen == "tokens" else "rows"
    print(f"export: {count} {what} -> {FOLDER / 'hf' if chosen == 'hf' else FILES[chosen]}")
    rows, lost = sum(1 for _ in _rows()), left_out.total()
    if lost > MOST_LEFT_OUT * rows:
        print(
            f"export: warning: {lost} of {rows} rows are NOT in there, for the reasons above{KEPT_BY.get(chosen, '')}"
        )


def _exporter(format_: str, params: Params) -> Export:
    if format_ == "openai":
        parallel = any(openai.calls_in_parallel(row) for row in _rows())
        return lambda row: [openai.export(row, parallel)]
    if format_ == "tokens":
        student = params["student"]
        tokenizer = load_tokenizer(student["path"], student["template"])
        return lambda row: tokens.export(row, tokenizer, student["max_length"])
    export = {"sharegpt": sharegpt.export, "hf": huggingface.export}[format_]
    return lambda row: [export(row)]


def _rows() -> Iterator[Row]:
    if not TRAIN.is_file():
        raise InputError(f"{TRAIN}: no such file; `make data` writes it")
    return jsonl.read(TRAIN, "row")


def _exported(
    export: Export, losses: Counter[str], left_out: Counter[str], keeps_thoughts: bool
) -> Iterator[dict[str, Any]]:
    """The rows in the format; `left_out` counts those that it cannot hold, `losses` those of which it leaves something out."""
    for row in _rows():
        try:
            yield from export(row)
        except NotRepresentable as reason:
            left_out[f"left out: {reason}"] += 1
            continue
        if not keeps_thoughts and any(message.get("reasoning_content") for message in row["messages"]):
            losses["without the teacher's thoughts, for which there is no place"] += 1


def _write(path: Path, rows: Iterator[Row]) -> int:
    count = 0
    with replacing(path) as file:
        for count, row in enumerate(rows, start=1):  # noqa: B007 - the last number is the count
            file.write(orjson.dumps(row) + b"\n")
    return count


if __name__ == "__main__":
    stage.run(main)
