"""Renders a row as the tokens that the student learns from: for every turn the very tokens that it is served with.

Law: what stands before an assistant turn in training is, byte for byte and token for token, the prompt that a server
renders from the messages before that turn. Where a template rewrites earlier turns (Qwen3 drops old reasoning), the law
cannot hold for all turns of one sequence, so the row becomes several sequences, in each of which it holds.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import jinja2

from distill.records.types import Message, Row, ToolCall, ToolSchema
from distill.student.template import Unrenderable
from distill.student.tokenizer import Tokenizer

THOUGHT = "a thought"
IGNORED = -100  # the label that torch's cross entropy ignores
WHOLE_BELOW = 1e6  # llama.cpp writes whole numbers below this without a fraction


@dataclass(frozen=True)
class TokenSequence:
    """Tokens with their labels: the token itself where it is learned, IGNORED where it is only context."""

    input_ids: list[int]
    labels: list[int]


def render(row: Row, tokenizer: Tokenizer) -> list[TokenSequence]:
    """The sequences of one row: mostly one, more where the template rewrites history.

    The student learns the text and calls of assistant turns (not those with `weight: 0`) and the token that ends each
    turn. A row in which nothing is to be learned gives no sequence. Raises Unrenderable.
    """
    messages, tools = list(as_templates_want(row["messages"])), tools_as_served(row.get("tools"))
    sequences: list[TokenSequence] = []
    before = ""  # the text of the last sequence, up to the end of its last assistant turn
    for place in _learned(row):
        prompt, turn = _turn(messages, place, tools, tokenizer)
        context = tokenizer.encode(prompt)
        answer = tokenizer.encode(turn)
        sequence = sequences[-1] if sequences else None
        if sequence and prompt.startswith(before) and context[: len(sequence.input_ids)] == sequence.input_ids:
            context = context[len(sequence.input_ids) :]
        else:
            sequence = TokenSequence([], [])
            sequences.append(sequence)
        sequence.input_ids.extend(context + answer)
        sequence.labels.extend([IGNORED] * len(context) + answer)
        before = prompt + turn
    return sequences


def _learned(row: Row) -> list[int]:
    """The places of the turns that are learned."""
    return [
        place
        for place, message in enumerate(row["messages"])
        if message["role"] == "assistant" and message.get("weight", 1)
    ]


def learns_calls(row: Row) -> bool:
    """Whether a turn that is learned calls tools."""
    return any(row["messages"][place].get("tool_calls") for place in _learned(row))


def count_tokens(row: Row, tokenizer: Tokenizer) -> int:
    """Tokens of the row's longest sequence: what must fit `student.max_length`; 0 where nothing is to be learned. Raises
    Unrenderable."""
    return max((len(sequence.input_ids) for sequence in render(row, tokenizer)), default=0)


def count_last_turn(row: Row, tokenizer: Tokenizer) -> int:
    """Tokens of the last learned turn with all that is before it: no more than `count_tokens`, and for a row of n turns
    n times as fast. Raises Unrenderable."""
    messages, tools = list(as_templates_want(row["messages"])), tools_as_served(row.get("tools"))
    last = _learned(row)[-1:]
    return sum(len(tokenizer.encode(text)) for place in last for text in _turn(messages, place, tools, tokenizer))


def has_place_for_thoughts(tokenizer: Tokenizer) -> bool:
    """Whether the template writes the thoughts of a turn (`reasoning_content`), which are then learned like its text."""
    turn = {"role": "assistant", "content": "-", "reasoning_content": THOUGHT}
    return THOUGHT in (_text(tokenizer, [{"role": "user", "content": "-"}, turn], None, False) or "")


def offered(tools: list[ToolSchema], tokenizer: Tokenizer) -> str | None:
    """The prompt of a bare question with these tools; None where the template cannot render it."""
    return _text(tokenizer, [{"role": "user", "content": "-"}], tools, True)


def _turn(messages: list[dict], place: int, tools: list[dict] | None, tokenizer: Tokenizer) -> tuple[str, str]:
    """The prompt that a server renders for the turn at `place`, and the turn itself with the token that ends it.

    Raises Unrenderable, also where the template drops the tools, the calls or the last result: that is found out by
    rendering the same without them.
    """
    where = f"/messages/{place}"
    if not place:
        raise Unrenderable(f"{where}: the assistant begins, and nobody can ask for a first turn: give it weight 0")
    try:
        prompt = tokenizer.text(messages[:place], tools, True)
        whole = tokenizer.text(messages[: place + 1], tools, False)
    except (jinja2.TemplateError, TypeError, RecursionError) as error:
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
        without_result = [*messages[: place - 1], {**messages[place - 1], "content": ""}]
        if prompt == _text(tokenizer, without_result, tools, True):
            raise Unrenderable(
                f"/messages/{place - 1}/content: the chat template drops the result; name another in student.template"
            )
    turn = whole[len(prompt) :]
    return prompt, turn[: _end(turn, where, tokenizer)]


def _text(tokenizer: Tokenizer, messages: list[dict], tools: list[dict] | None, generation_prompt: bool) -> str | None:
    """The rendered text; None where the template refuses the messages."""
    try:
        return tokenizer.text(messages, tools, generation_prompt)
    except (jinja2.TemplateError, TypeError, RecursionError):
        return None


def _end(turn: str, where: str, tokenizer: Tokenizer) -> int:
    """Where the end-of-turn token ends in the text of a turn; only white space may follow it."""
    text = turn.rstrip()
    last = tokenizer.encode(text)[-1:]
    if not last or last[0] not in tokenizer.special:
        raise Unrenderable(f"{where}: the chat template ends the turn without an end-of-turn token")
    if last[0] not in tokenizer.stops:
        raise Unrenderable(f"{where}: the chat template ends the turn with a token at which no server stops")
    return len(text)


def as_templates_want(messages: list[Message]) -> Iterator[Message]:
    """Messages of a record as templates take them: arguments as objects, content never null, no `weight` or other key that
    is null, calls `numbered`, results in the order of their calls (by which templates without ids match them), and turns
    `as_said`.

    Raises Unrenderable for arguments that are not a JSON object; in a turn that is not learned they become `{}`, as when
    they are served (`chat.body`).
    """
    for place, message in enumerate(map(as_said, numbered(results_in_order(messages)))):
        kept = {key: value for key, value in message.items() if key != "weight" and value is not None}
        kept["content"] = message.get("content") or ""
        if calls := message.get("tool_calls"):
            learned, where = bool(message.get("weight", 1)), f"/messages/{place}/tool_calls"
            kept["tool_calls"] = [
                {**call, "function": {**call["function"], "arguments": _arguments(call, f"{where}/{number}", learned)}}
                for number, call in enumerate(calls)
            ]
        yield kept


def as_said(message: Message) -> Message:
    """An assistant message without the white space around its parts that belongs to the template: vLLM leaves it there
    when it parses a turn, llama.cpp and we remove it. Other messages unchanged."""
    if message.get("role") != "assistant":
        return message
    thought, text = message.get("reasoning_content"), message.get("content")
    stripped = {key: value for key, value in message.items() if key not in ("reasoning_content", "content")}
    if isinstance(thought, str) and thought.strip():
        stripped["reasoning_content"] = thought.strip("\n")
    if isinstance(text, str):
        text = text.lstrip("\n")
        text = text.rstrip() if message.get("tool_calls") else text
    return stripped | ({"content": text} if "content" in message else {})


def numbered(messages: list[Message]) -> Iterator[Message]:
    """The messages with ids of their calls that say which call it is: a template that writes ids shows the same in training
    and in serving, whoever made them."""
    ids: dict[Any, str] = {}
    count = 0
    for message in messages:
        if calls := message.get("tool_calls"):
            named = [{**call, "id": call_id(number)} for number, call in enumerate(calls, count + 1)]
            ids |= {call.get("id"): new["id"] for call, new in zip(calls, named, strict=True)}
            count += len(calls)
            yield {**message, "tool_calls": named}
        elif (old := message.get("tool_call_id")) in ids:
            yield {**message, "tool_call_id": ids[old]}
        else:
            yield message


def call_id(number: int) -> str:
    """The id of the call with this number in a conversation: nine letters and digits, as Mistral's templates demand."""
    return f"call{number:05}"


def results_in_order(messages: list[Message]) -> list[Message]:
    """The messages with the results of each turn in the order of its calls."""
    ordered = list(messages)
    for place, message in enumerate(messages):
        calls = [call.get("id") for call in message.get("tool_calls") or ()]
        results = list(takewhile(lambda after: after.get("role") == "tool", messages[place + 1 :]))
        if len(calls) > 1 and all(result.get("tool_call_id") in calls for result in results):
            results.sort(key=lambda result: calls.index(result.get("tool_call_id")))
            ordered[place + 1 : place + 1 + len(results)] = results
    return ordered


def tools_as_served(tools: list[ToolSchema] | None) -> list[ToolSchema] | None:
    """Tool schemas as servers pass them to templates; None for no tools. Each has a description: where it is missing,
    llama.cpp passes an empty one, vLLM a null."""
    return [
        {"type": "function", "function": {"name": tool["function"]["name"], "description": "", **tool["function"]}}
        for tool in tools or []
    ] or None


def _arguments(call: ToolCall, where: str, learned: bool) -> dict[str, Any]:
    try:
        arguments = json.loads(
            call["function"]["arguments"] or "{}", parse_float=_number, parse_constant=_refuse_constant
        )
        fault = "" if isinstance(arguments, dict) else "not a JSON object"
    except (ValueError, RecursionError) as error:
        fault = f"not JSON: {error}"
    if fault and learned:
        raise Unrenderable(f"{where}/function/arguments: {fault}")
    return {} if fault else arguments


def _number(text: str) -> float | int:
    """A number as llama.cpp writes it in the history: 44 for 44.0, so that the student learns to write 44."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < WHOLE_BELOW else value


def _refuse_constant(text: str) -> None:
    """Refuses NaN and Infinity, which Python's parser would take."""
    raise ValueError(f"{text} is not a JSON number")
