"""`make bench-rendering`: what it costs to render and to encode rows turn by turn, each in its serving context, against
what a plain trainer does: the whole conversation once, by transformers' `apply_chat_template`.

Rows with twelve tools and two, four and ten assistant turns (dataset_rows.py), Qwen3's template, SmolLM2's tokenizer; CPU
time in one process, by turns, the best of three.
"""

import json
import time
from collections.abc import Callable
from typing import Any

from benchmarks import dataset_rows
from distill.records.types import Row
from distill.student import base, render
from distill.student.tokenizer import load_tokenizer

STUDENT, ROWS = "local/smollm2-135m-instruct", 100


def main() -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(base.find(STUDENT).directory)
    theirs.chat_template = load_tokenizer(STUDENT, "qwen3").template

    def whole(row: Row) -> int:
        return len(theirs.apply_chat_template(row["messages"], tools=row["tools"])["input_ids"])

    for turns in (2, 4, 10):
        rows = dataset_rows.long_rows(ROWS, turns - 1)
        ours_s, theirs_s = [], []
        for _ in range(3):
            tokenizer = load_tokenizer(STUDENT, "qwen3")  # remembers nothing yet
            ours_s.append(_cpu(lambda row: render.count_tokens(row, tokenizer), rows))  # noqa: B023
            theirs_s.append(_cpu(whole, [_with_objects(row) for row in rows]))
        ours, plain = (min(seconds) / ROWS * 1e3 for seconds in (ours_s, theirs_s))
        size = whole(_with_objects(rows[0]))
        print(f"{turns} turns, {size} tokens: {ours:.1f} ms of CPU a row, as a whole {plain:.1f}: {ours / plain:.1f} x")


def _with_objects(row: Row) -> Row:
    """The row with arguments as templates want them."""
    copy = json.loads(json.dumps(row))
    for message in copy["messages"]:
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return copy


def _cpu(count: Callable[[Row], Any], rows: list[Row]) -> float:
    begun = time.process_time()
    for row in rows:
        count(row)
    return time.process_time() - begun


if __name__ == "__main__":
    main()
