"""The tool calls of an assistant message, read from what servers send, and as they accept them back."""

import re
from typing import Any

import orjson

from distill.records.types import ToolCall
from distill.teacher.answer import as_text

NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_-]")
"""Characters that OpenAI refuses in the name of a function."""
NAME_CHARS = 64
"""OpenAI refuses longer names."""


def tool_call(id_: Any, name: Any, arguments: Any) -> ToolCall:
    """A call with the arguments as the model wrote them, or as JSON where the server has parsed them."""
    text = arguments if isinstance(arguments, str) else orjson.dumps(arguments or {}).decode()
    return {"id": as_text(id_), "type": "function", "function": {"name": as_text(name), "arguments": text}}


def with_unique_ids(calls: list[ToolCall]) -> list[ToolCall]:
    """The calls of one message with unique ids: a missing id, and one that an earlier call has, gets the call's number."""
    given = {call["id"] for call in calls}
    seen: set[str] = set()
    for number, call in enumerate(calls, start=1):
        if not call["id"] or call["id"] in seen:
            call["id"] = f"{call['id'] or 'call'}_{number}"
            while call["id"] in given | seen:
                call["id"] += "_"
        seen.add(call["id"])
    return calls


def acceptable(call: ToolCall) -> ToolCall:
    """The call as servers accept it in an earlier turn: broken arguments become `{}`, other characters in names `_`."""
    function = call["function"]
    return call | {
        "function": {
            "name": NOT_IN_A_NAME.sub("_", function["name"])[:NAME_CHARS] or "_",
            "arguments": _object_or_empty(function["arguments"]),
        }
    }


def _object_or_empty(arguments: str) -> str:
    try:
        return arguments if isinstance(orjson.loads(arguments), dict) else "{}"
    except orjson.JSONDecodeError:
        return "{}"
