"""Training rows of the shop example, for tests of the student."""

import hashlib
import json
from typing import Any

SYSTEM = "You work in a small shop. Prices and stock come from lookup_item, sums from calculator."
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "lookup_item",
            "description": "Gives name, price and stock of an item.",
            "parameters": {"type": "object", "properties": {"sku": {"type": "string"}}, "required": ["sku"]},
        },
    },
    {
        "type": "function",
        "function": {
            "name": "calculator",
            "parameters": {
                "type": "object",
                "properties": {"expression": {"type": "string"}},
                "required": ["expression"],
            },
        },
    },
]


def call(number: int, name: str, arguments: dict[str, Any] | str) -> dict[str, Any]:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": text}}


def row(number: int) -> dict[str, Any]:
    """A question, a call, its result and the answer; different for every number."""
    sku, price = f"G{100 + number}", number % 7 + 2
    messages = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": f"What is the price of item {sku}?"},
        {"role": "assistant", "content": "", "tool_calls": [call(0, "lookup_item", {"sku": sku})]},
        {"role": "tool", "tool_call_id": "call_0", "content": json.dumps({"price": price, "stock": number})},
        {"role": "assistant", "content": f"Answer: {price}"},
    ]
    return as_row(messages, TOOLS)


def as_row(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> dict[str, Any]:
    """A valid row of data/train.jsonl with these messages."""
    digest = hashlib.sha256(json.dumps(messages).encode()).hexdigest()
    return {
        "messages": messages,
        "tools": tools,
        "metadata": {},
        "prompt_id": digest[:16],
        "rollout_id": digest[16:32],
        "sample": 0,
        "split": "train",
        "teacher": "local/teacher",
        "outcome": {
            "status": "completed",
            "stop_reason": "final_answer",
            "answer": "2",
            "correct": True,
            "accepted_by": "number",
            "why": None,
            "turns": 2,
            "tool_calls": 1,
            "tool_errors": 0,
            "tokens": 90,
            "cost_usd": 0.0,
        },
    }
