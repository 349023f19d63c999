"""What is remembered of a row once it has been judged: little, since there may be a million of them."""

from collections.abc import Mapping
from sys import intern
from typing import Any, NamedTuple


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
    """What the teacher read and wrote."""
    cost_usd: float | None
    length: int | None
    """Tokens of the row as the student reads it; None where nobody has counted them."""
    digest: bytes | None = None
    """Equal for rows with the same conversation; None where nobody compares them."""

    @classmethod
    def compact(cls, values: tuple[Any, ...]) -> "Facts":
        """From the values of another process, with what many rows share held once."""
        prompt_id, rollout_id, source, teacher, *others = values
        return cls._make((intern(prompt_id), rollout_id, intern(source), intern(teacher), *others))


UNKNOWN = "unknown"


def of(row: dict[str, Any], sources: Mapping[str, str], length: int | None, digest: bytes | None = None) -> Facts:
    """The facts of a row; `sources` has the seed file of each prompt."""
    outcome, named = row["outcome"], row["metadata"].get("source")
    return Facts(
        intern(row["prompt_id"]),
        row["rollout_id"],
        intern(named if isinstance(named, str) and named else sources.get(row["prompt_id"], UNKNOWN)),
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
    """The smaller, the better to learn from: right before unknown before wrong, then fewest tool errors, calls and
    tokens, then the smallest rollout_id."""
    right = {True: 0, None: 1, False: 2}[facts.correct]
    return right, facts.tool_errors, facts.tool_calls, facts.tokens, facts.rollout_id
