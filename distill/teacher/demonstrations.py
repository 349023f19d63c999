"""Example conversations that only the teacher sees: the student learns the behaviour without them."""

from distill.records import jsonl
from distill.records.types import Message


def read_demonstrations(path: str | None) -> list[Message]:
    """The messages of all rows `{"messages": [...]}` of a file, one after the other; none for None.

    Raises InputError with every fault of the file.
    """
    if path is None:
        return []
    return [message for row in jsonl.read(path, "demonstration") for message in row["messages"]]


def with_demonstrations(messages: list[Message], demonstrations: list[Message]) -> list[Message]:
    """The messages with example conversations after the system messages of the prompt; the record has none of these."""
    first = next((index for index, message in enumerate(messages) if message["role"] != "system"), len(messages))
    return messages[:first] + demonstrations + messages[first:]
