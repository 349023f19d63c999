"""The expected answer as text, and its faults, alike for all types of answers that take a text."""

from decimal import Decimal

from distill.records.types import Metadata


def text_faults(metadata: Metadata) -> list[str]:
    """The fault of an expected answer that is neither a text nor a number."""
    value = metadata["expected_answer"]
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
        shown = "empty" if isinstance(value, str) else type(value).__name__
        instead = "; write its JSON as a text" if isinstance(value, bool | dict) else ""
        return [f"/metadata/expected_answer: must be a string or a number, not {shown}{instead}"]
    return []


def text(metadata: Metadata) -> str:
    """The expected answer as text; a number without an exponent, which math-verify would take for a letter."""
    value = metadata["expected_answer"]
    return format(Decimal(str(value)), "f") if isinstance(value, float) else str(value)
