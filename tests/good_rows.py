"""Rows without a fault, to plant one in, and what a check finds there."""

from typing import Any

from injections import Row
from rollout_records import rollout

from distill.dataset import convert
from distill.dataset.checks import CHECKS
from distill.dataset.checks.context import CheckContext
from distill.student.template import compile_template
from distill.student.tokenizer import Tokenizer


def good(count: int = 1) -> list[Row]:
    return [convert.row(rollout(units)) for units in range(2, count + 2)]


def with_text(place: int, text: str) -> Row:
    row = good()[0]
    row["messages"][place]["content"] = text
    return row


def found(name: str, row: Row, **known: Any) -> Any:
    return CHECKS[name].check(row, CheckContext(**known))


def tokenizer(template: str) -> Tokenizer:
    compiled = compile_template(template)
    return Tokenizer(
        template, lambda messages, tools, prompt: compiled(messages=messages, tools=tools, add_generation_prompt=prompt),
        lambda text: [], lambda ids: "", frozenset(), frozenset(),
    )  # fmt: skip
