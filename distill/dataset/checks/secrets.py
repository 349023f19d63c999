"""No text of the row holds a credential: keys and tokens, recognised by the formats that rollouts are kept free of, too.

What is found is never shown. A credential stays in the data when its turn is masked, so there is no such mode; take it
out of the prompts or tools, and revoke it. What documentation puts in the place of one (`sk-xxxx…`) is none.
"""

from typing import Any

from distill.dataset.checks.context import CheckContext
from distill.dataset.checks.fault import Fault, listed
from distill.dataset.checks.texts import texts
from distill.project.credentials import KNOWN
from distill.records.types import Row

ADVICE = "credentials are in the prompts or in what the tools return: see the pointers, take them out, and revoke them"
PREFILTER = KNOWN
PREFIX = 4
BEGINNING = 80
"""Characters of a private key in which a placeholder shows."""
MOST_PLACEHOLDERS = 20
"""In a text: it is searched once for each."""
FEWEST = 4
"""Different characters of a credential behind its prefix."""


def check(row: Row, context: CheckContext) -> Fault | None:
    faults = [
        (pointer, f"holds a credential ({match.lastgroup})") for pointer, text in texts(row) if (match := _found(text))
    ]
    return listed(faults) if faults else None


def _found(text: str) -> Any:
    """The first match that is no placeholder, or the one behind many. What begins as a private key may go on to a real one:
    it is searched, too."""
    match = KNOWN.search(text)
    for _ in range(MOST_PLACEHOLDERS):
        if not match or not _is_placeholder(match.group()):
            break
        match = KNOWN.search(text, match.start() + 1)
    return match


def _is_placeholder(found: str) -> bool:
    """Whether a match says itself that it is none: `sk-xxxxxxxxxxxxxxxxxxxx`, AWS's `AKIAIOSFODNN7EXAMPLE`, a key of dots."""
    beginning = found[:BEGINNING]
    return "EXAMPLE" in beginning or "..." in beginning or len(set(found[PREFIX:])) < FEWEST
