"""A row as the tokens that the student learns from, turn by turn the tokens that it will be served with.

Law: what stands before an assistant turn in training is, byte for byte and token for token, the prompt that a server
renders from the messages before that turn. Where a template rewrites earlier turns (Qwen3 drops old reasoning), one
sequence cannot have this for all turns, so the row becomes several sequences, each of which has it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import jinja2

from distill.student.template import Unrenderable
from distill.student.tokenizer import Tokenizer

IGNORED = -100  # the label that torch's cross entropy passes over


@dataclass(frozen=True)
class TokenSequence:
    """Tokens, and for each the label: itself where it is learned, IGNORED where it is only context."""

    input_ids: list[int]
    labels: list[int]


def render(row: dict[str, Any], tokenizer: Tokenizer) -> list[TokenSequence]:
    """The sequences of one row: mostly one, more where the template rewrites history.

    Learned are the text and calls of assistant turns (not those with `weight: 0`) and the token that ends each turn.
    A row in which nothing is to be learned gives sequences without labels. Raises Unrenderable.
    """
    messages, tools = list(as_templates_want(row["messages"])), tools_as_served(row.get("tools"))
    sequences: list[TokenSequence] = []
    before = ""  # the text of the open sequence, up to the end of its last assistant turn
    for place, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt, said = _turn(messages, place, tools, tokenizer)
        context = tokenizer.encode(prompt)
        answer = tokenizer.encode(said)
        labels = answer if row["messages"][place].get("weight", 1) else [IGNORED] * len(answer)
        opened = sequences[-1] if sequences else None
        if opened and prompt.startswith(before) and context[: len(opened.input_ids)] == opened.input_ids:
            context = context[len(opened.input_ids) :]
        else:
            opened = TokenSequence([], [])
            sequences.append(opened)
        opened.input_ids.extend(context + answer)
        opened.labels.extend([IGNORED] * len(context) + labels)
        before = prompt + said
    return [sequence for sequence in sequences if any(label != IGNORED for label in sequence.labels)] or sequences[:1]


def count_tokens(row: dict[str, Any], tokenizer: Tokenizer) -> int:
    """Tokens of the row's longest sequence: what must fit `student.max_length`. Raises Unrenderable."""
    return max((len(sequence.input_ids) for sequence in render(row, tokenizer)), default=0)


def count_last_turn(row: dict[str, Any], tokenizer: Tokenizer) -> int:
    """Tokens of the last assistant turn with all that is before it: at most what `count_tokens` finds, for a row of n
    turns in an n-th of its time. Raises Unrenderable."""
    messages, tools = list(as_templates_want(row["messages"])), tools_as_served(row.get("tools"))
    last = max((place for place, message in enumerate(messages) if message["role"] == "assistant"), default=None)
    return 0 if last is None else sum(len(tokenizer.encode(text)) for text in _turn(messages, last, tools, tokenizer))


def offered(tools: list[dict[str, Any]], tokenizer: Tokenizer) -> str | None:
    """The prompt of a bare question with these tools; None where the template does not take it."""
    return _text(tokenizer, [{"role": "user", "content": "-"}], tools, True)


def _turn(messages: list[dict], place: int, tools: list[dict] | None, tokenizer: Tokenizer) -> tuple[str, str]:
    """The prompt that a server renders for the turn at `place`, and the turn itself with the token that ends it."""
    where = f"/messages/{place}"
    try:
        prompt = tokenizer.text(messages[:place], tools, True)
        whole = tokenizer.text(messages[: place + 1], tools, False)
    except (jinja2.TemplateError, TypeError) as error:
        raise Unrenderable(f"{where}: the chat template refuses: {error}") from None
    if not whole.startswith(prompt):
        raise Unrenderable(f"{where}: the chat template does not begin this turn as its generation prompt does")
    if tools and prompt == _text(tokenizer, messages[:place], None, True):
        raise Unrenderable("/tools: the chat template drops the tools; name another in student.template")
    if (calls := messages[place].get("tool_calls")) and whole == _text(
        tokenizer, [*messages[:place], {**messages[place], "tool_calls": calls[:-1]}], tools, False
    ):
        raise Unrenderable(f"{where}/tool_calls: the chat template drops the calls; name another in student.template")
    if messages[place - 1]["role"] == "tool" and messages[place - 1]["content"].strip():
        deaf = [*messages[: place - 1], {**messages[place - 1], "content": ""}]
        if prompt == _text(tokenizer, deaf, tools, True):
            raise Unrenderable(
                f"/messages/{place - 1}/content: the chat template drops the result; name another in student.template"
            )
    said = whole[len(prompt) :]
    return prompt, said[: _end(said, where, tokenizer)]


def _text(tokenizer: Tokenizer, messages: list[dict], tools: list[dict] | None, generation_prompt: bool) -> str | None:
    """The text, or None where the template takes what is missing for granted, and so does not drop it."""
    try:
        return tokenizer.text(messages, tools, generation_prompt)
    except (jinja2.TemplateError, TypeError):
        return None


def _end(said: str, where: str, tokenizer: Tokenizer) -> int:
    """Where the end-of-turn token ends in the text of a turn; only white space may follow it."""
    text = said.rstrip()
    last = tokenizer.encode(text)[-1:]
    if not last or last[0] not in tokenizer.special:
        raise Unrenderable(f"{where}: the chat template ends the turn without an end-of-turn token")
    if last[0] not in tokenizer.stops:
        raise Unrenderable(f"{where}: the chat template ends the turn with a token at which no server stops")
    return len(text)


def as_templates_want(messages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Messages of a record for a template: arguments as objects, content never null, no `weight`, nothing that is null,
    results in the order of their calls (templates that write no ids tell them apart by it), and turns `as_said`.

    Raises Unrenderable for arguments that are no JSON object.
    """
    for place, message in enumerate(map(as_said, _results_in_order(messages))):
        kept = {key: value for key, value in message.items() if key != "weight" and value is not None}
        kept["content"] = message.get("content") or ""
        if calls := message.get("tool_calls"):
            kept["tool_calls"] = [
                {**call, "function": {**call["function"], "arguments": _arguments(call, f"/messages/{place}", number)}}
                for number, call in enumerate(calls)
            ]
        yield kept


def as_said(message: dict[str, Any]) -> dict[str, Any]:
    """An assistant message without the white space around its parts that belongs to the template: vLLM leaves it in what
    it reads out of a turn, llama.cpp and we take it away. Other messages as they are."""
    if message.get("role") != "assistant":
        return message
    thought, text = message.get("reasoning_content"), message.get("content")
    said = {key: value for key, value in message.items() if key not in ("reasoning_content", "content")}
    if isinstance(thought, str) and thought.strip():
        said["reasoning_content"] = thought.strip("\n")
    if isinstance(text, str):
        text = text.lstrip("\n")
        text = text.rstrip() if message.get("tool_calls") else text
    return said | ({"content": text} if "content" in message else {})


def _results_in_order(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    ordered = list(messages)
    for place, message in enumerate(messages):
        calls = [call.get("id") for call in message.get("tool_calls") or ()]
        results = list(takewhile(lambda after: after.get("role") == "tool", messages[place + 1 :]))
        if len(calls) > 1 and all(result.get("tool_call_id") in calls for result in results):
            results.sort(key=lambda result: calls.index(result.get("tool_call_id")))
            ordered[place + 1 : place + 1 + len(results)] = results
    return ordered


def tools_as_served(tools: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    """Tool schemas as servers hand them to templates, None without any: llama.cpp gives those without a description an
    empty one, vLLM a null, so all of ours have one."""
    return [
        {"type": "function", "function": {"name": tool["function"]["name"], "description": "", **tool["function"]}}
        for tool in tools or []
    ] or None


def _arguments(call: dict[str, Any], where: str, number: int) -> dict[str, Any]:
    pointer = f"{where}/tool_calls/{number}/function/arguments"
    try:
        arguments = json.loads(call["function"]["arguments"] or "{}", parse_float=_number, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Unrenderable(f"{pointer}: not JSON: {error}") from None
    if not isinstance(arguments, dict):
        raise Unrenderable(f"{pointer}: not a JSON object")
    return arguments


def _number(text: str) -> float | int:
    """llama.cpp writes 44.0 in the history as 44; so the student learns to write 44."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < 1e6 else value


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is not a JSON number")
