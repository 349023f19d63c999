"""Every text of a row that a person, a model or a tool wrote, with its pointer."""

from collections.abc import Iterator

from distill.records.types import Row

APART = "\n\0\n"
"""Between two texts: no pattern goes across it, and it ends a line, a word and a run of spaces as the end of a text does."""


def texts(row: Row) -> Iterator[tuple[str, str]]:
    """(pointer, text) of all contents, reasoning, refusals and arguments."""
    for place, message in enumerate(row["messages"]):
        for key in ("content", "reasoning_content", "refusal"):
            if text := message.get(key):
                yield f"/messages/{place}/{key}", text
        for number, call in enumerate(message.get("tool_calls", ())):
            if text := call["function"]["arguments"]:
                yield f"/messages/{place}/tool_calls/{number}/function/arguments", text


def contents_and_arguments(row: Row) -> tuple[str, str]:
    """All contents, reasoning and refusals as one text, and the arguments of all calls as another."""
    contents, arguments = [], []
    for message in row["messages"]:
        contents.append(message.get("content") or "")
        if "reasoning_content" in message:
            contents.append(message["reasoning_content"] or "")
        if message.get("refusal"):
            contents.append(message["refusal"])
        if "tool_calls" in message:
            arguments += [call["function"]["arguments"] for call in message["tool_calls"]]
    return APART.join(contents), APART.join(arguments)
