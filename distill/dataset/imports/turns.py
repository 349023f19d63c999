"""Turns whose calls and results have no ids, as messages in OpenAI's form: ShareGPT's, and messages with what those have.

Read are the dialect of LLaMA-Factory, which our own export writes (calls in function_call turns, results in observation
turns), that of Hermes (calls between <tool_call> tags, results between <tool_response> tags, JSON or Python's literals),
and OpenAI's older form (`function_call`, results of the role `function`). Results are those of the calls before them, in
their order. What cannot be read as one of these is refused, and so is a number of results that does not fit.
"""

import ast
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import count, groupby
from typing import Any, NamedTuple

import orjson
import re2

from distill.dataset.imports import conversations
from distill.records import json_text
from distill.records.counted import counted
from distill.records.faults import InputError
from distill.records.types import Message, ToolCall

CALL_ROLES = ("function_call", "tool_call")
NAMES = {
    "system": ("system", "developer"),
    "user": ("human", "user"),
    "assistant": ("gpt", "chatgpt", "bing", "bard", "assistant", *CALL_ROLES),
    "tool": ("observation", "tool", "function", "function_response", "tool_response"),
}
ROLES = {name: role for role, names in NAMES.items() for name in names}
OPENAI_ROLES = ("system", "developer", "user", "assistant", "tool")
KEYS = {"role", "content", "weight", "name", "reasoning_content", "tool_calls", "function_call", "tool_call_id"}
HOW = '; calls are read from function_call turns, {"name": …, "arguments": {…}}, and between <tool_call> tags'
# RE2, since they are for texts of strangers: Python's own took minutes for tags that are opened and never closed.
CALL = re2.compile(r"(?s)<tool_call>(.*?)</tool_call>")
RESULTS = re2.compile(r"(?s)\s*<tool_response>\n?(.*?)\n?</tool_response>\s*")
BETWEEN_RESULTS = re2.compile(r"\n?</tool_response>\s*<tool_response>\n?")
AS_CODE = re2.compile(r"(?s)\s*\[[\w ./-]+\(.*\)\]\s*")
"""Calls as ToolACE has them: [lookup_item(sku="A1")]."""


class _Turn(NamedTuple):
    role: str
    text: str
    thought: str
    calls: list[ToolCall]
    weight: Any
    where: str
    """The pointer to its text."""


def messages(turns: list[Any], where: str, has_tools: bool) -> list[Any]:
    """The turns as messages; messages whose calls and results have ids as they are. Raises InputError."""
    if not _are_turns(turns, has_tools):
        return turns
    ids = (f"call_{number}" for number in count(1))
    read = [_turn(turn, f"{where}/{place}", ids) for place, turn in enumerate(turns)]
    if not has_tools and (
        coded := [turn for turn in read if turn.role == "assistant" and AS_CODE.fullmatch(turn.text)]
    ):
        raise InputError(f"{coded[0].where}: a call written as code{HOW}")
    return list(_messages(read))


def system_text(turn: Any) -> Any:
    """The text of a system message, or turn; None for others."""
    if not isinstance(turn, dict) or turn.get("from", turn.get("role")) != "system":
        return None
    return text if isinstance(text := turn.get("value", turn.get("content")), str) else None


def read_value(text: Any, where: str) -> Any:
    """The value of a JSON text, or of one that Python wrote as its own; what is no text as it is. Raises InputError."""
    if not isinstance(text, str):
        return text
    value, fault = json_text.parse(text.encode())
    if fault and value is None:
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            return ast.literal_eval(text.strip())
    if fault:
        raise InputError(f"{where}: {fault}")
    return value


def _are_turns(turns: list[Any], has_tools: bool) -> bool:
    """Whether these are turns without ids. Tags count where there are tools and no other calls: an answer may speak of them."""
    given = [turn for turn in turns if isinstance(turn, dict)]
    calls = [call for turn in given for call in _listed(turn.get("tool_calls")) if isinstance(call, dict)]
    return any(not call.get("id") for call in calls) or any(
        turn.get("role") not in OPENAI_ROLES
        or turn.get("function_call")
        or (turn["role"] == "tool" and not turn.get("tool_call_id"))
        or (turn["role"] == "assistant" and has_tools and not calls and CALL.search(str(turn.get("content"))))
        for turn in given
    )


def _turn(turn: Any, where: str, ids: Iterator[str]) -> _Turn:
    """A turn of from and value, or a message."""
    by, said = ("from", "value") if isinstance(turn, dict) and "from" in turn else ("role", "content")
    if not isinstance(turn, dict) or by not in turn or (said == "value" and said not in turn):
        raise InputError(f"{where}: no turn of from and value, nor a message of role and content")
    name = str(turn[by])
    if name not in ROLES:
        raise InputError(f"{where}/{by}: {turn[by]!r} is none of {', '.join(ROLES)}")
    others = {key: value for key, value in turn.items() if key not in (by, said)}
    message = conversations.message({"role": ROLES[name], "content": turn.get(said), **others})
    if unknown := [key for key in message if key not in KEYS]:
        raise InputError(f"{where}/{unknown[0]}: a turn has no such key here; leave it out")
    role, text, where = message["role"], message["content"], f"{where}/{said}"
    text = "" if text is None else text
    if not isinstance(text, str) or (role == "user" and not text):
        raise InputError(f"{where}: must be a text{', and not empty' if role == 'user' else ''}")
    if role != "assistant":
        return _Turn(role, text, "", [], None, where)  # weight: others are never learned from
    text, calls = _said(text, message, name in CALL_ROLES, where)
    thought = message.get("reasoning_content", "")
    return _Turn(role, text, thought, [_call(call, next(ids), where) for call in calls], message.get("weight"), where)


def _said(text: str, message: Message, is_call: bool, where: str) -> tuple[str, list[Any]]:
    """The text of an assistant's turn, and its calls, each a name and arguments."""
    if is_call:
        return "", _listed(read_value(text, where))
    given = _listed(message.get("tool_calls", []))
    calls = [call.get("function") if isinstance(call, dict) else call for call in given]
    calls += [message["function_call"]] if "function_call" in message else []
    if calls:
        return text, calls
    text, *rest = CALL.split(text)
    tagged, behind = rest[::2], "".join(rest[1::2]).strip()
    if behind or "<tool_call>" in text:
        raise InputError(
            f"{where}: {'text behind a call' if behind else '<tool_call> without its end'}{HOW}, text first"
        )
    return text.strip() if tagged else text, [read_value(call, where) for call in tagged]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _call(value: Any, id_: str, where: str) -> ToolCall:
    if not isinstance(value, dict) or set(value) != {"name", "arguments"} or not isinstance(value["name"], str):
        raise InputError(f"{where}: no call of name and arguments alone{HOW}")
    arguments = value["arguments"]
    try:
        text = arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
    except TypeError as error:
        raise InputError(f"{where}: arguments that JSON cannot say: {error}") from None
    return {"id": id_, "type": "function", "function": {"name": value["name"], "arguments": text}}


def _messages(turns: list[_Turn]) -> Iterator[Message]:
    calls: list[ToolCall] = []  # of the turn before
    for are_results, group in groupby(turns, key=lambda turn: turn.role == "tool"):
        if are_results:
            yield from _results(list(group), calls)
            continue
        for turn in _joined(group):
            calls = turn.calls
            told = {"content": turn.text, "reasoning_content": turn.thought or None}
            yield {"role": turn.role, **told, "tool_calls": calls, "weight": turn.weight}


def _joined(turns: Iterable[_Turn]) -> list[_Turn]:
    """The turns, those that only call joined to the assistant's before: one answer, which was given in one go."""
    joined: list[_Turn] = []
    for turn in turns:
        only_calls = turn.calls and not turn.text and not turn.thought
        if only_calls and joined and (joined[-1].role, joined[-1].weight) == (turn.role, turn.weight):
            joined[-1] = joined[-1]._replace(calls=joined[-1].calls + turn.calls)
        else:
            joined.append(turn)
    return joined


def _results(turns: list[_Turn], calls: list[ToolCall]) -> Iterator[Message]:
    """The results of calls: a turn each, or several in one turn with marks between them."""
    where = turns[0].where.rpartition("/")[0]
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
