"""A thought in the text of an answer, where a server without a parser for thoughts, or a dataset, has left it."""

from distill.records.types import Message

OPENED, CLOSED = "<think>", "</think>"


def apart(text: str) -> tuple[str, str]:
    """The thought that a text begins with, empty if there is none, and the text behind it.

    The mark that opens it is often in the prompt. Without that, a mark that closes one ends its line; else it is spoken of.
    """
    before, closed, behind = text.partition(CLOSED)
    thought = before.strip().removeprefix(OPENED).strip()
    is_opened = text.lstrip().startswith(OPENED)
    ends_line = not behind.partition("\n")[0].strip()
    if not closed or not (is_opened or ends_line) or OPENED in thought:
        return "", text
    return thought, behind.lstrip()


def taken_out(message: Message) -> Message:
    """The message with a thought that its text begins with as `reasoning_content`, unless it has one there."""
    thought, text = apart(message["content"])
    if text == message["content"] or message.get("reasoning_content"):
        return message
    others = {key: value for key, value in message.items() if key != "reasoning_content"}
    return ({"reasoning_content": thought} if thought else {}) | others | {"content": text}
