"""Forces a turn to become a tool call (`tool_choice`), by the tokens with which it may begin."""

from itertools import takewhile
from typing import Any

from distill.records.types import Message, ToolSchema
from distill.student.served_messages import call_id
from distill.student.serving.calls import KEY, VALUE, properties
from distill.student.tokenizer import Tokenizer


def openings(
    tokenizer: Tokenizer, messages: list[Message], tools: list[ToolSchema] | None, names: list[str]
) -> list[list[int]]:
    """For each of the tools `names` the tokens with which every turn begins that calls it after `messages`: up to where
    the arguments differ.

    Raises ValueError where the template does not write such a turn as a continuation of its prompt.
    """
    prompt = tokenizer.text(messages, tools, True)
    id_ = call_id(1 + sum(len(message.get("tool_calls", ())) for message in messages))

    def turn(name: str, arguments: dict[str, Any]) -> list[int]:
        call = {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}
        calling = {"role": "assistant", "content": "", "tool_calls": [call]}
        whole = tokenizer.text([*messages, calling], tools, False)
        if not whole.startswith(prompt):
            raise ValueError("it begins no call after these messages")
        return tokenizer.encode(whole[len(prompt) :])

    beginnings = []
    for name in names:
        keys = properties(name, tools or []) or [KEY]
        turns = zip(turn(name, {}), *(turn(name, {key: VALUE}) for key in keys), strict=False)
        beginnings.append([ids[0] for ids in takewhile(lambda ids: len(set(ids)) == 1, turns)])
    return beginnings


def may_follow(openings: list[list[int]], ids: list[int]) -> set[int]:
    """The tokens that may follow `ids`, the beginning of one of the openings; empty once an opening is complete."""
    if any(ids[: len(opening)] == opening for opening in openings):
        return set()
    return {opening[len(ids)] for opening in openings if opening[: len(ids)] == ids}
