"""Conversations of every kind, and what it means that each turn of one is trained as it will be served."""

import json
from typing import Any

from hypothesis import strategies as st
from tiny_rows import TOOLS, as_row, call

from distill.student.render import IGNORED, TokenSequence, render
from distill.student.served_messages import as_said
from distill.student.tokenizer import Tokenizer

WORDS = st.text(st.sampled_from("aZ0 9\n\té✓😀'\"{}<>|_\\/."), max_size=20)
SAID = WORDS.filter(str.strip)
NUMBERS = st.one_of(st.integers(-(2**53), 2**53), st.sampled_from([0.5, 2.0, -1.25, 1e-05, 100000.0]))
VALUES = st.recursive(
    st.one_of(WORDS, NUMBERS, st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(WORDS, inner, max_size=2)),
    max_leaves=4,
)
CALLS = st.tuples(st.sampled_from(["lookup_item", "calculator"]), st.dictionaries(WORDS, VALUES, max_size=2))


@st.composite
def conversations(draw: Any, at_once: int = 2, beside: tuple[str, ...] = ("", "Let me see.")) -> dict[str, Any]:
    """A row: questions, each answered after some rounds of calls; some turns with thoughts, some with weight 0.

    `at_once`: calls of one turn, at most; 0 for templates that know no tools. `beside`: what may be said with calls.
    """
    messages: list[dict[str, Any]] = [{"role": "system", "content": draw(SAID)}] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 2))):
        messages.append({"role": "user", "content": draw(SAID)})
        for _ in range(draw(st.integers(0, 2)) if at_once else 0):
            made = [
                call(number, *one) for number, one in enumerate(draw(st.lists(CALLS, min_size=1, max_size=at_once)))
            ]
            messages.append({"role": "assistant", "content": draw(st.sampled_from(beside)), "tool_calls": made})
            messages += [{"role": "tool", "tool_call_id": one["id"], "content": draw(WORDS)} for one in made]
        messages.append({"role": "assistant", "content": draw(SAID)})
    for message in messages:
        if message["role"] == "assistant":
            message.update(draw(st.sampled_from([{}, {}, {"weight": 0}, {"reasoning_content": "Let me\n\nthink é. "}])))
    return as_row(messages, TOOLS if at_once else [])


def serving(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages as a server parses them from a client: arguments are objects, the rest is as it was said, without what
    belongs to the template around it."""

    def parsed(message: dict[str, Any]) -> dict[str, Any]:
        calls = [
            {
                **one,
                "function": {
                    **one["function"],
                    "arguments": json.loads(one["function"]["arguments"], parse_float=number),
                },
            }
            for one in message.get("tool_calls", [])
        ]
        sent = {key: value for key, value in message.items() if key != "weight"} | (
            {"tool_calls": calls} if calls else {}
        )
        return as_said(sent)

    def number(text: str) -> float | int:
        return int(float(text)) if float(text).is_integer() else float(text)

    return [parsed(message) for message in messages]


def serving_tools(tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tools as llama.cpp hands them to a template: with a description, be it an empty one."""
    keys = ("name", "description", "parameters")
    return [{"type": "function", "function": {key: one["function"].get(key, "") for key in keys}} for one in tools]


def assert_trained_as_served(conversation: dict[str, Any], tokenizer: Tokenizer) -> None:
    """Each learned turn stands, once, behind exactly the tokens of its serving prompt, and nothing else is learned."""
    sequences, tools = render(conversation, tokenizer), serving_tools(conversation["tools"])
    learned = [(s.input_ids[:start], s.input_ids[start:end]) for s in sequences for start, end in spans(s)]
    expected = []
    for place, message in enumerate(conversation["messages"]):
        if message["role"] == "assistant" and message.get("weight", 1):
            said = serving(conversation["messages"][: place + 1])
            prompt = tokenizer.text(said[:-1], tools, True)
            turn = tokenizer.text(said, tools, False)[len(prompt) :].rstrip("\n")
            expected.append((tokenizer.encode(prompt), tokenizer.encode(turn)))
    assert learned == expected
    for sequence in sequences:
        assert len(sequence.labels) == len(sequence.input_ids)
        assert all(label in (IGNORED, id_) for label, id_ in zip(sequence.labels, sequence.input_ids, strict=True))


def spans(sequence: TokenSequence) -> list[tuple[int, int]]:
    """Where the runs of learned tokens begin and end."""
    flags = [False, *(label != IGNORED for label in sequence.labels), False]
    edges = [place for place in range(len(flags) - 1) if flags[place] != flags[place + 1]]
    return list(zip(edges[::2], edges[1::2], strict=True))
