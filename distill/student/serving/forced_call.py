"""Turns that can only become a call (`tool_choice`): what the student may begin them with."""

from itertools import takewhile
from typing import Any

from distill.student.serving.calls import KEY, VALUE, properties
from distill.student.tokenizer import Tokenizer


def openings(
    tokenizer: Tokenizer, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None, names: list[str]
) -> list[list[int]]:
    """For each of the tools `names` the tokens with which the template begins every turn after `messages` that calls it:
    up to where the arguments differ.

    Raises ValueError where the template begins such a turn in another way than its prompt ends.
    """
    prompt = tokenizer.text(messages, tools, True)

    def turn(name: str, arguments: dict[str, Any]) -> list[int]:
        call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}
        calling = {"role": "assistant", "content": "", "tool_calls": [call]}
        whole = tokenizer.text([*messages, calling], tools, False)
        if not whole.startswith(prompt):
            raise ValueError("it begins no call after these messages")
        return tokenizer.encode(whole[len(prompt) :])

    found = []
    for name in names:
        keys = properties(name, tools or []) or [KEY]
        turns = zip(turn(name, {}), *(turn(name, {key: VALUE}) for key in keys), strict=False)
        found.append([ids[0] for ids in takewhile(lambda ids: len(set(ids)) == 1, turns)])
    return found


def may_follow(openings: list[list[int]], said: list[int]) -> set[int]:
    """The tokens that lead on into one of the openings, of which `said` may be a part; empty once one is said."""
    if any(said[: len(opening)] == opening for opening in openings):
        return set()
    return {opening[len(said)] for opening in openings if opening[: len(said)] == said}
