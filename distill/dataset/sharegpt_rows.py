"""Conversations in ShareGPT's form as those in OpenAI's: `{conversations, system, tools}`, one JSON object a line.

Read are the dialect of LLaMA-Factory, which our own export writes (calls in function_call turns, results in observation
turns), and that of Hermes (calls between <tool_call> tags in gpt turns, results between <tool_response> tags, JSON or
Python's literals). Neither has ids: results are those of the calls before them, in their order. What cannot be read as one of
the two is refused, and so is a number of results that does not fit.
"""

import ast
from collections.abc import Iterator
from contextlib import suppress
from itertools import count, groupby
from typing import Any, NamedTuple

import orjson
import re2

from distill.records import json_text
from distill.records.counted import counted
from distill.records.faults import InputError
from distill.records.types import Message, ToolCall

ROLES = {"system": "system", "human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant",
         "bard": "assistant", "assistant": "assistant", "function_call": "assistant", "observation": "tool", "tool": "tool",
         "function_response": "tool"}  # fmt: skip
KEYS = {"conversations", "system", "system_prompt", "tools", "metadata"}
UNREAD = ("images", "image", "videos", "audios", "chosen", "rejected", "kto_tag")
HOW = '; calls are read from function_call turns, {"name": …, "arguments": {…}}, and between <tool_call> tags'
# RE2, since they are for texts of strangers: Python's own took minutes for tags that are opened and never closed.
CALL = re2.compile(r"(?s)<tool_call>(.*?)</tool_call>")
TOOLS = re2.compile(r"(?s)<tools>\s*([\[{].*?)\s*</tools>")
RESULTS = re2.compile(r"(?s)\s*<tool_response>\n?(.*?)\n?</tool_response>\s*")
BETWEEN_RESULTS = re2.compile(r"\n?</tool_response>\s*<tool_response>\n?")
AS_CODE = re2.compile(r"(?s)\s*\[[\w ./-]+\(.*\)\]\s*")
"""Calls as ToolACE has them: [lookup_item(sku="A1")]."""


class _Turn(NamedTuple):
    role: str
    text: str
    is_call: bool
    """It is a call and nothing else."""
    weight: Any
    where: str


def is_sharegpt(value: Any) -> bool:
    """Whether a parsed line has ShareGPT's key and not OpenAI's."""
    return isinstance(value, dict) and "conversations" in value and "messages" not in value


def conversation(value: dict[str, Any]) -> dict[str, Any]:
    """`{messages, tools, metadata}` of a conversation in ShareGPT's form; other keys that it has go into the metadata.

    What a system message says of tools between <tools> tags and of how to call them is no part of it: the student's template
    says it in its own way. Raises InputError with what is wrong first, as `/pointer: message`.
    """
    if unread := [key for key in UNREAD if value.get(key) not in (None, [], "")]:
        raise InputError(f"/{unread[0]}: is not read: a row is one conversation, of texts only; leave such rows out")
    turns = _turns(value)
    tools = _tools(value.get("tools"), "/tools")
    for place, turn in enumerate(turns):
        if turn.role == "system" and (listed := TOOLS.search(turn.text)):
            tools = tools or _tools(listed[1], turn.where)
            turns[place] = turn._replace(text=_without_tools(turn.text))
    if not tools and (coded := [turn for turn in turns if turn.role == "assistant" and AS_CODE.fullmatch(turn.text)]):
        raise InputError(f"{coded[0].where}/value: a call written as code{HOW}")
    messages = list(_messages([turn for turn in turns if turn.text or turn.role != "system"]))
    metadata = value.get("metadata") or {}
    others = {key: other for key, other in value.items() if key not in KEYS and other is not None}
    return {
        "messages": messages,
        "tools": tools,
        "metadata": others | metadata if isinstance(metadata, dict) else metadata,
    }


def _turns(value: dict[str, Any]) -> list[_Turn]:
    """The turns, behind the system message of a column of its own if none of them says the same."""
    if not isinstance(value["conversations"], list):
        raise InputError("/conversations: must be a list of turns with from and value")
    turns = [_turn(turn, f"/conversations/{place}") for place, turn in enumerate(value["conversations"])]
    system = value.get("system") or value.get("system_prompt")
    if system and system not in [turn.text for turn in turns if turn.role == "system"]:
        turns = [_turn({"from": "system", "value": system}, "/system"), *turns]
    return turns


def _turn(turn: Any, where: str) -> _Turn:
    if not isinstance(turn, dict) or not {"from", "value"} <= set(turn):
        raise InputError(f"{where}: no turn of from and value; a list of role and content is called messages")
    if str(turn["from"]) not in ROLES:
        raise InputError(f"{where}/from: {turn['from']!r} is none of {', '.join(ROLES)}")
    if unknown := [key for key in turn if key not in ("from", "value", "weight") and turn[key] is not None]:
        raise InputError(f"{where}/{unknown[0]}: a turn has from, value and weight only; leave it out")
    role, text = ROLES[turn["from"]], turn["value"]
    if not isinstance(text, str) or (role == "user" and not text):
        raise InputError(f"{where}/value: must be a text{', and not empty' if role == 'user' else ''}")
    weight = turn.get("weight") if role == "assistant" else None  # others are never learned from
    return _Turn(role, text, turn["from"] == "function_call", weight, where)


def _messages(turns: list[_Turn]) -> Iterator[Message]:
    ids = (f"call_{number}" for number in count(1))
    calls: list[ToolCall] = []  # of the turn before
    for are_results, group in groupby(turns, key=lambda turn: turn.role == "tool"):
        if are_results:
            yield from _results(list(group), calls)
            continue
        for turn in group:
            text, calls = _said(turn, ids) if turn.role == "assistant" else (turn.text, [])
            yield {"role": turn.role, "content": text, "tool_calls": calls, "weight": turn.weight}


def _said(turn: _Turn, ids: Iterator[str]) -> tuple[str, list[ToolCall]]:
    """The text of an assistant's turn, and its calls."""
    where = f"{turn.where}/value"
    if turn.is_call:
        value = _value(turn.text, where)
        return "", [_call(call, next(ids), where) for call in (value if isinstance(value, list) else [value])]
    text, *rest = CALL.split(turn.text)
    calls, behind = rest[::2], "".join(rest[1::2]).strip()
    if behind or "<tool_call>" in text:
        raise InputError(
            f"{where}: {'text behind a call' if behind else '<tool_call> without its end'}{HOW}, text first"
        )
    return text.strip() if calls else text, [_call(_value(call, where), next(ids), where) for call in calls]


def _call(value: Any, id_: str, where: str) -> ToolCall:
    if not isinstance(value, dict) or set(value) != {"name", "arguments"} or not isinstance(value["name"], str):
        raise InputError(f"{where}: no call of name and arguments alone{HOW}")
    arguments = value["arguments"]
    try:
        text = arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
    except TypeError as error:
        raise InputError(f"{where}: arguments that JSON cannot say: {error}") from None
    return {"id": id_, "type": "function", "function": {"name": value["name"], "arguments": text}}


def _results(turns: list[_Turn], calls: list[ToolCall]) -> Iterator[Message]:
    """The results of calls: a turn each, or several in one turn with marks between them."""
    where = turns[0].where
    if not calls:
        raise InputError(f"{where}: a result, and the turn before it calls no tool{HOW}")
    texts: list[str] = []
    for turn in turns:
        tagged = RESULTS.fullmatch(turn.text)
        text = tagged[1] if tagged else turn.text
        # Without tags around it, a turn that is the only result of a call may have such marks in its text.
        texts += BETWEEN_RESULTS.split(text) if tagged or len(turns) < len(calls) else [text]
    if len(texts) != len(calls):
        raise InputError(
            f"{where}: {counted(len(texts), 'result')}, and the turn before it makes {counted(len(calls), 'call')}: write one "
            "turn each, or all in one, each between <tool_response> tags; calls that were made together are a list in one turn"
        )
    for call, text in zip(calls, texts, strict=True):
        yield {"role": "tool", "tool_call_id": call["id"], "content": text}


def _without_tools(text: str) -> str:
    """A system message without the lines from the first that names <tools> to the end of the last tag about calls."""
    begin = text.rfind("\n", 0, text.index("<tools>")) + 1
    end = max(text.rfind(tag) + len(tag) for tag in ("</tools>", "</tool_call>"))
    return (text[:begin] + text[end:]).strip()


def _tools(given: Any, where: str) -> Any:
    """The tools in OpenAI's form, of a list, its text, or a text with one a line."""
    tools = given or []
    if isinstance(given, str):
        lines = [line for line in given.split("\n") if line.strip()]
        tools = _value(given, where) if given.lstrip()[:1] == "[" else [_value(line, where) for line in lines]
    if not isinstance(tools, list):
        return tools
    return [
        {"type": "function", "function": tool} if isinstance(tool, dict) and "function" not in tool else tool
        for tool in tools
    ]


def _value(text: str, where: str) -> Any:
    """The value of a JSON text, or of one that Python wrote as its own. Raises InputError."""
    value, fault = json_text.parse(text.encode())
    if fault and value is None:
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            return ast.literal_eval(text.strip())
    if fault:
        raise InputError(f"{where}: {fault}")
    return value
