"""Real-looking rollouts for the tests of the data stages: a shop's two-step question, answered with tools."""

from copy import deepcopy
from typing import Any

from distill.records.ids import content_id


def tool(name: str, **properties: str) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": f"The tool {name}.",
            "parameters": {
                "type": "object",
                "properties": {key: {"type": kind} for key, kind in properties.items()},
                "required": list(properties),
                "additionalProperties": False,
            },
        },
    }


TOOLS = [tool("lookup_item", sku="string"), tool("calculator", a="number", b="number")]


def call(identity: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def messages(units: int) -> list[dict[str, Any]]:
    """A conversation in which `units` of an item at 44 are asked for, found and multiplied."""
    said = {"role": "assistant", "content": ""}
    return [
        {"role": "system", "content": "You work in a small shop."},
        {"role": "user", "content": f"What do {units} units of item D625 cost in total?"},
        {**said, "tool_calls": [call("call_1", "lookup_item", '{"sku": "D625"}')]},
        {"role": "tool", "tool_call_id": "call_1", "content": '{"name": "tin kettle", "price": 44}'},
        {**said, "tool_calls": [call("call_2", "calculator", f'{{"a": {units}, "b": 44}}')]},
        {"role": "tool", "tool_call_id": "call_2", "content": str(units * 44)},
        {"role": "assistant", "content": f"Answer: {units * 44}"},
    ]


def rollout(units: int = 9, sample: int = 0, **changes: Any) -> dict[str, Any]:
    """A finished, correct rollout; `changes` replace fields."""
    talk = messages(units)
    usage = {"input_tokens": 300, "output_tokens": 60, "cached_tokens": 0, "reasoning_tokens": 0}
    record = {
        "id": content_id(["rollout", units, sample]),
        "key": content_id(["key", units, sample]),
        "prompt_id": content_id({"messages": talk[:2]}),
        "sample": sample,
        "split": "train",
        "created_at": "2026-11-22T12:00:00Z",
        "model": "local/qwen2.5-coder-0.5b-instruct",
        "teacher": {"api": "chat"},
        "status": "completed",
        "stop_reason": "final_answer",
        "error": None,
        "messages": talk,
        "tools": deepcopy(TOOLS),
        "calls": [],
        "usage": usage,
        "cost_usd": None,
        "docker": None,
        "metadata": {"expected_answer": units * 44, "answer_type": "number"},
        "versions": {},
    }
    return record | changes
