"""Every text of a row that a person or a tool wrote, with its pointer."""

from collections.abc import Iterable, Iterator
from typing import Any


def texts(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(pointer, text) of all contents, reasoning and arguments."""
    for place, message in enumerate(row["messages"]):
        for key in ("content", "reasoning_content"):
            if text := message.get(key):
                yield f"/messages/{place}/{key}", text
        for number, call in enumerate(message.get("tool_calls", ())):
            if text := call["function"]["arguments"]:
                yield f"/messages/{place}/tool_calls/{number}/function/arguments", text


APART = "\n\0\n"


def joined(row: dict[str, Any]) -> str:
    """All of them as one text, to be looked through at once."""
    parts = []
    for message in row["messages"]:
        if message.get("content"):
            parts.append(message["content"])
        if message.get("reasoning_content"):
            parts.append(message["reasoning_content"])
        for call in message.get("tool_calls", ()):
            parts.append(call["function"]["arguments"])
    return "\n".join(parts)
