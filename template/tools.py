"""The tools of this project. A tool is a function under `@tool`; its type hints and docstring are what the model sees."""

from datetime import date

from distill.tools import tool


@tool
def days_between(start: str, end: str) -> int:
    """Counts the days from one date to another.

    Args:
        start: The first date, such as 2026-01-31.
        end: The second date, such as 2026-03-01.
    """
    return (date.fromisoformat(end) - date.fromisoformat(start)).days
