"""The row, rendered as the student is trained on it, fits student.max_length."""

from distill.dataset.checks.context import CheckContext
from distill.dataset.checks.fault import Fault
from distill.records.types import Row

ADVICE = (
    "raise student.max_length, or shorten the tools' descriptions and results (agent.tool_output_chars); for rows that"
    " cannot be rendered, name another student.template"
)


def check(row: Row, context: CheckContext) -> Fault | None:
    assert context.counts, "this context was made without a tokenizer"
    count = context.counts(row)
    if isinstance(count, str):
        return Fault(f"cannot be rendered: {count}", (count.partition(": ")[0],))
    too_long = f"{count} tokens, student.max_length is {context.max_length}"
    return Fault(too_long) if count > context.max_length else None
