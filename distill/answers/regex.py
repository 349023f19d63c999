"""`regex`: the whole answer matches the pattern in `expected_answer`, in RE2's syntax, which takes linear time."""

from functools import lru_cache
from typing import Any

import re2

from distill.answers import expected
from distill.answers.signs import typed
from distill.records.types import Metadata


def why_not(answer: str, metadata: Metadata) -> str | None:
    """None where the pattern matches the answer, as it is or as a keyboard has it, from its first to its last character;
    `(?i)` in it passes over case."""
    pattern = _pattern(expected.text(metadata))
    if pattern.fullmatch(answer.strip()) or pattern.fullmatch(typed(answer).strip()):
        return None
    return "the pattern matches only a part of it" if pattern.search(answer) else "the pattern does not match"


def faults(metadata: Metadata) -> list[str]:
    """The faults of a pattern that RE2 refuses, or that accepts an empty answer."""
    if not isinstance(metadata["expected_answer"], str):
        return ["/metadata/expected_answer: must be a pattern, as a string"]
    try:
        pattern = _pattern(metadata["expected_answer"])
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else error
        return [f"/metadata/expected_answer: is not a valid RE2 pattern: {reason}"]
    return ["/metadata/expected_answer: the pattern accepts an empty answer"] if pattern.fullmatch("") else []


@lru_cache(maxsize=1024)
def _pattern(text: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    return re2.compile(text, options)
