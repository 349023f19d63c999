"""The facts that are kept in memory of a checked row: few, since there may be a million rows."""

from collections.abc import Mapping
from sys import intern
from typing import Any, NamedTuple

from distill.records.types import Row


class Facts(NamedTuple):
    """What contests and the report need to know of a row."""

    prompt_id: str
    rollout_id: str
    source: str
    """`metadata.source`, else the seed file that the prompt is from, else `unknown`."""
    teacher: str
    correct: bool | None
    turns: int
    tool_calls: int
    tool_errors: int
    tokens: int
    """Tokens that the teacher read and wrote."""
    cost_usd: float | None
    length: int | None
    """Tokens of the row as the student reads it; None where nobody has counted them."""
    digest: bytes | None = None
    """Equal for rows with the same conversation; None where nobody compares them."""

    @classmethod
    def compact(cls, values: tuple[Any, ...]) -> "Facts":
        """The facts whose values came from another process, with strings that many rows share held once."""
        prompt_id, rollout_id, source, teacher, *others = values
        return cls._make((intern(prompt_id), rollout_id, intern(source), intern(teacher), *others))


UNKNOWN = "unknown"


def of(row: Row, sources: Mapping[str, str], length: int | None, digest: bytes | None = None) -> Facts:
    """The facts of a row; `sources` has the seed file of each prompt."""
    outcome, source = row["outcome"], row["metadata"].get("source")
    return Facts(
        intern(row["prompt_id"]),
        row["rollout_id"],
        intern(source if isinstance(source, str) and source else sources.get(row["prompt_id"], UNKNOWN)),
        intern(row["teacher"]),
        outcome["correct"],
        outcome["turns"],
        outcome["tool_calls"],
        outcome["tool_errors"],
        outcome["tokens"],
        outcome["cost_usd"],
        length,
        digest,
    )


def rank(facts: Facts) -> tuple[int, int, int, int, str]:
    """A sort key, smallest for the row that is best to learn from: right before unknown before wrong, then fewest tool
    errors, calls and tokens, then the smallest rollout_id."""
    correctness = {True: 0, None: 1, False: 2}[facts.correct]
    return correctness, facts.tool_errors, facts.tool_calls, facts.tokens, facts.rollout_id
