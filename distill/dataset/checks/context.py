"""What the checks need besides the row."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from distill.dataset.checks.fault import Fault
from distill.dataset.held_out import HeldOutIndex
from distill.records.types import Row, ToolSchema


def _no_tokenizer(row: Row) -> int:
    raise RuntimeError("this context was made without a tokenizer")


def _no_template(tools: list[ToolSchema]) -> list[tuple[str, str]]:
    return []


@dataclass(frozen=True)
class CheckContext:
    """Everything outside a row that checks depend on; `filter.context` makes one for all rows."""

    tokens: Callable[[Row], int] = _no_tokenizer
    """Counts the tokens of a row, rendered by the student's template with its tools; raises Unrenderable."""
    max_length: int = 0
    """Tokens of a rendered row, at most."""
    max_tool_errors: int = 3
    """Tool calls of a row that may fail."""
    own: Mapping[str, Callable[[Row], Fault | None]] = field(default_factory=dict)
    """The user's checks, by name."""
    held_out: HeldOutIndex = field(default_factory=HeldOutIndex)
    """The prompts that nobody may train on."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """prompt_id -> the seed file that the prompt is from."""
    unseen: Callable[[list[dict[str, Any]]], list[tuple[str, str]]] = _no_template
    """(JSON pointer, what is missing) of each tool that the student's template does not show whole; none where there is
    no template."""
    flush: Callable[[], None] = lambda: None
    """Stores the token counts for the next run."""
