"""The texts of the assistant's turns, for checks that look for phrases in them."""

from collections.abc import Iterator
from typing import Any

import re2

from distill.records.types import Row


def pattern(*alternatives: str) -> Any:
    """One case-insensitive RE2 alternation: linear in the text, however many alternatives there are."""
    return re2.compile("(?i)" + "|".join(f"(?:{alternative})" for alternative in alternatives))


def typed(text: str) -> str:
    """The text with the signs of a keyboard in place of those of print that models write in phrases: `I’m GPT‑5`."""
    if text.isascii():
        return text
    return text.replace("\u2019", "'").replace("\u2011", "-").replace("\u202f", " ").replace("\u00a0", " ")


def turns(row: Row, key: str = "content") -> Iterator[tuple[int, str]]:
    """(place, text) of the assistant's turns that are learned from and have text, or of their `reasoning_content`;
    `typed`."""
    for place, message in enumerate(row["messages"]):
        if message["role"] == "assistant" and message.get(key) and message.get("weight") != 0:
            yield place, typed(message[key])
