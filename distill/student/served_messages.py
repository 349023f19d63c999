"""Messages and tools of a record as servers pass them to chat templates: the same in training and in serving."""

import json
from collections.abc import Iterator
from itertools import takewhile
from typing import Any

from distill.records.types import Message, ToolCall, ToolSchema
from distill.student.template import Unrenderable

WHOLE_BELOW = 1e6  # llama.cpp writes whole numbers below this without a fraction


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
