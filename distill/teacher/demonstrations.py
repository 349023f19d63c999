"""Example conversations that only the teacher sees: the student learns the behaviour without them."""

from typing import Any

from distill.records import jsonl


def read_demonstrations(path: str | None) -> list[dict[str, Any]]:
    """The messages of all rows `{"messages": [...]}` of a file, one after the other; none for None.

    Raises InputError with every fault of the file.
    """
    if path is None:
        return []
    return [message for row in jsonl.read(path, "demonstration") for message in row["messages"]]
