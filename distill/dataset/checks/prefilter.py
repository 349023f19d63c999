"""One RE2 pass that clears most rows of several checks, instead of one pass for each of them.

A check takes part by its attribute `PREFILTER`: a pattern that matches some text of every row in which the check can
find a fault. Where the patterns of all such checks together match nothing, none of them need look.
"""

from collections.abc import Callable, Iterable
from typing import Any

import re2

from distill.dataset.checks import assistant_text
from distill.dataset.checks.texts import APART


def any_of(patterns: Iterable[Any]) -> Callable[[str, str], bool]:
    """Makes a function of `texts.contents_and_arguments` of a row: whether one of its texts matches one of the patterns."""
    options = re2.Options()
    options.never_capture = True
    # (?m), since the texts are lines of one text here, and their ends are to count as ends.
    alternation = "|".join(f"(?m:{pattern.pattern})" for pattern in patterns)
    if not alternation:
        return lambda contents, arguments: False
    search = re2.compile(alternation, options).search

    def matches(contents: str, arguments: str) -> bool:
        return search((assistant_text.typed(contents) + APART + arguments).encode()) is not None

    return matches
