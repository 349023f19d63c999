"""What the checks need besides the row."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from distill.dataset.checks.fault import Fault
from distill.dataset.held_out_index import HeldOutIndex
from distill.dataset.token_counts import TokenCounts
from distill.records.types import Row
from distill.student.tokenizer import Tokenizer


@dataclass(frozen=True)
class CheckContext:
    """Everything outside a row that checks depend on; `filter.context` makes one for all rows."""

    counts: TokenCounts | None = None
    """Counts the tokens of a row as the student reads it, for the check `length`."""
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
    tokenizer: Tokenizer | None = None
    """The student's, with its template, for the check `tools_shown`."""
    unreadable: str | None = None
    """Why the student is not to learn calls, where it is not."""
