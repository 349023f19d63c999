"""ShareGPT's format as LLaMA-Factory reads it with its default tags, and others by the same `from` and `value`.

`conversations` of system, human, gpt, function_call and observation turns; human and observation alternate with gpt and
function_call; `tools` is a JSON string. The results of parallel calls share one observation, in the order of the calls,
since the format has no ids, and joined as LLaMA-Factory joins them.
"""

from typing import Any

import orjson

from distill.dataset.export import NotRepresentable
from distill.records import json_text
from distill.records.types import Message, Row
from distill.student.served_messages import results_in_order

DATASET_INFO = {
    "distill": {
        "file_name": "sharegpt.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "conversations", "tools": "tools"},
    }
}
"""The entry for the file in dataset_info.json of LLaMA-Factory's `dataset_dir`."""
BETWEEN_RESULTS = "\n</tool_response>\n<tool_response>\n"


def export(row: Row) -> dict[str, Any]:
    """The row as `conversations` and `tools`. Raises NotRepresentable."""
    turns: list[dict[str, str]] = []
    for message in results_in_order(row["messages"]):
        tag, value = _turn(message)
        if tag == "observation" and turns and turns[-1]["from"] == "observation":
            turns[-1]["value"] += BETWEEN_RESULTS + value
        else:
            turns.append({"from": tag, "value": value})
    _check_order(turns)
    tools = [tool["function"] for tool in row["tools"]]
    return {"conversations": turns, "tools": orjson.dumps(tools).decode() if tools else ""}


def _turn(message: Message) -> tuple[str, str]:
    """The `from` and `value` of a message. Raises NotRepresentable."""
    role, content = message["role"], message.get("content") or ""
    if role != "assistant":
        return {"system": "system", "user": "human", "tool": "observation"}[role], content
    if message.get("weight") == 0:
        raise NotRepresentable("ShareGPT cannot say that a turn is not to be learned from (weight 0)")
    if not message.get("tool_calls"):
        return "gpt", content
    if content.strip():
        raise NotRepresentable("ShareGPT has no place for text beside a tool call")
    calls = [_call(call["function"]) for call in message["tool_calls"]]
    return "function_call", orjson.dumps(calls[0] if len(calls) == 1 else calls).decode()


def _call(function: dict[str, Any]) -> dict[str, Any]:
    arguments, fault = json_text.parse(function["arguments"].encode() or b"{}")
    if fault:
        raise NotRepresentable("the arguments of a call are not JSON, or hold a number that some parsers round")
    return {"name": function["name"], "arguments": arguments}


def _check_order(turns: list[dict[str, str]]) -> None:
    """Raises NotRepresentable where a reader would skip the row."""
    tags = [turn["from"] for turn in turns]
    dialogue = tags[1:] if tags[0] == "system" else tags
    asks = [tag in ("human", "observation") for tag in dialogue]
    if "system" in dialogue:
        raise NotRepresentable("ShareGPT has one system message, at the beginning")
    if len(asks) % 2 or asks != [True, False] * (len(asks) // 2):
        raise NotRepresentable("the turns of user and assistant do not alternate, or do not end with the assistant")
