"""The texts of the assistant's turns, for checks that look for phrases in them."""

from collections.abc import Iterator
from typing import Any

import re2

from distill.records.types import Row


def pattern(*alternatives: str) -> Any:
    """One case-insensitive RE2 alternation: linear in the text, however many alternatives there are."""
    return re2.compile("(?i)" + "|".join(f"(?:{alternative})" for alternative in alternatives))


def turns(row: Row, key: str = "content") -> Iterator[tuple[int, str]]:
    """(place, text) of the assistant's turns that are learned from and have text, or of their `reasoning_content`; curly
    apostrophes made straight."""
    for place, message in enumerate(row["messages"]):
        if message["role"] == "assistant" and message.get(key) and message.get("weight") != 0:
            yield place, message[key].replace("\u2019", "'")
