"""Whether a row has any sign of what some checks look for: one pass of one RE2 alternation instead of one pass each.

Most rows have none, and then these checks need not look. A check takes part by its attribute `PREFILTER`: a pattern without
a match of which, in some text of the row, it finds nothing.
"""

from collections.abc import Callable, Iterable
from typing import Any

import re2

from distill.dataset.checks.texts import APART


def any_of(patterns: Iterable[Any]) -> Callable[[str, str], bool]:
    """A function of `texts.contents_and_arguments` of a row: whether a text of the row matches one of the patterns."""
    options = re2.Options()
    options.never_capture = True
    # (?m), since the texts are lines of one text here, and their ends are to count as ends.
    alternation = "|".join(f"(?m:{pattern.pattern})" for pattern in patterns)
    if not alternation:
        return lambda said, asked: False
    search = re2.compile(alternation, options).search

    def found(said: str, asked: str) -> bool:
        if not said.isascii():
            said = said.replace("\u2019", "'")  # as checks.said does
        return search((said + APART + asked).encode()) is not None

    return found
