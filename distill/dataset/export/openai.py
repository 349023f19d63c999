"""OpenAI's format of supervised fine-tuning: `messages`, `tools`, `parallel_tool_calls`.

By its API reference (FineTuneChatRequestInput): `weight` on assistant messages only, the last message is an
assistant's, no key but the documented ones. The model learns from every assistant message without `weight: 0`.
"""

from typing import Any

from distill.dataset.export import NotRepresentable
from distill.records.types import Row

COMMON_KEYS = ("role", "content", "name")
KEYS = {
    "system": COMMON_KEYS,
    "user": COMMON_KEYS,
    "assistant": (*COMMON_KEYS, "tool_calls", "refusal", "weight"),
    "tool": ("role", "content", "tool_call_id"),
}
TOOL_KEYS = ("name", "description", "parameters", "strict")


def export(row: Row, parallel: bool) -> dict[str, Any]:
    """The row for OpenAI. `parallel`: whether any row of the dataset calls several tools in one turn.

    It goes into every row with tools, because it is part of what the model reads: train and serve with the same value.
    Reasoning has no place in this format. Raises NotRepresentable.
    """
    messages = [
        {key: message[key] for key in KEYS[message["role"]] if message.get(key) is not None}
        for message in row["messages"]
    ]
    if messages[-1]["role"] != "assistant":
        raise NotRepresentable("the last message must be an assistant's")
    if not any(message["role"] == "assistant" and message.get("weight", 1) for message in messages):
        raise NotRepresentable("every assistant message has weight 0")
    tools = [{"type": "function", "function": _function(tool["function"])} for tool in row["tools"]]
    return {"messages": messages} | ({"tools": tools, "parallel_tool_calls": parallel} if tools else {})


def calls_in_parallel(row: Row) -> bool:
    """Whether a turn of the row calls more than one tool."""
    return any(len(message.get("tool_calls", [])) > 1 for message in row["messages"])


def _function(function: dict[str, Any]) -> dict[str, Any]:
    return {key: function[key] for key in TOOL_KEYS if key in function}
