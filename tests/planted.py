"""What a check finds of planted faults, and what it finds in rows without one."""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple


class Measured(NamedTuple):
    """Both are shares."""

    recall: float
    """Of the planted rows, those that are found."""
    false: float
    """Of the clean rows, those that are found."""


def measure(found: Callable[[Any], Any], planted: Collection[Any], clean: Collection[Any]) -> Measured:
    """Recall and false-positive rate of a check that gives None where it finds nothing."""
    hits = [found(row) is not None for row in planted]
    false = [found(row) is not None for row in clean]
    return Measured(sum(hits) / len(hits), sum(false) / len(false))
