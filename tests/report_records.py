"""Made-up prompts and conversations for the tests of the report, one of them hostile."""

import random
from typing import Any

from distill.records.ids import content_id

SYSTEM = {"role": "system", "content": "You work in a small shop. Use the tools and end with the answer."}
HOSTILE = (
    "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'> "
    "![a picture](https://example.invalid/spy.png) <style>*{display:none}</style> "
    "& &amp; \u2028 \u2029 {{ 7 * 7 }}"
)
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": about,
            "parameters": {"type": "object", "properties": {key: {"type": "string"}}, "required": [key]},
        },
    }
    for name, about, key in (
        ("lookup", "The price in dollars and the stock of one item of the shop.", "sku"),
        ("calculate", "The value of an arithmetic expression.", "expression"),
    )
]
NO_USAGE = {"input_tokens": 0, "output_tokens": 0, "cached_tokens": 0, "reasoning_tokens": 0}


def make_prompt(number: int, split: str, draw: random.Random) -> dict[str, Any]:
    """A row of data/prompts.jsonl: a lookup, a calculation, or both in one."""
    family = ("lookup", "calc", "order")[number % 3]
    sku, price, amount = (
        f"{draw.choice('HKST')}{100 + number % 900}",
        draw.randrange(100, 9000) / 100,
        draw.randrange(2, 40),
    )
    question, expected = {
        "lookup": (f"What does item {sku} cost?", price),
        "calc": (
            f"A pallet holds {amount} bags of soil. How many bags are on {number + 2} pallets?",
            amount * (number + 2),
        ),
        "order": (
            f"A customer takes {amount} of item {sku}. How much is that altogether?",
            round(amount * price, 2),
        ),
    }[family]
    return {
        "id": content_id([number, split]),
        "split": split,
        "source": f"data/seed/shop.jsonl:{number + 1}",
        "messages": [dict(SYSTEM), {"role": "user", "content": question}],
        "metadata": {
            "expected_answer": expected,
            "answer_type": "number",
            "family": family,
            "sku": sku,
            "price": price,
            "amount": amount,
        },
    }


def _calls(prompt: dict[str, Any], broken: bool = False) -> list[dict[str, Any]]:
    """Assistant and tool messages of the calls that solve a prompt."""
    facts = prompt["metadata"]
    steps = []
    if facts["family"] in ("lookup", "order"):
        steps.append(
            (
                "lookup",
                f'{{"sku": "{facts["sku"]}"}}',
                f'{{"sku": "{facts["sku"]}", "price": {facts["price"]}, "stock": 31}}',
            )
        )
    if facts["family"] in ("calc", "order"):
        steps.append(
            (
                "calculate",
                f'{{"expression": "{facts["amount"]} * {facts["price"]}"}}',
                str(facts["expected_answer"]),
            )
        )
    if broken:
        steps[0] = (steps[0][0], '{"item": "none"}', "error: calculate: argument 'sku' is missing")
    messages: list[dict[str, Any]] = []
    for number, (name, arguments, result) in enumerate(steps):
        call = {
            "id": f"call_{number}",
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }
        messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    return messages


def make_rollout(prompt: dict[str, Any], draw: random.Random, answer: str | None = None) -> dict[str, Any]:
    """The teacher's rollout, by luck right, wrong, with a bad call, or failed; `answer` goes everywhere."""
    luck, expected = draw.random(), prompt["metadata"]["expected_answer"]
    failed = luck > 0.95 and answer is None
    given = expected if luck < 0.78 else round(expected * 1.5 + 1, 2)
    messages = [*prompt["messages"], *_calls(prompt, broken=0.78 < luck < 0.86)]
    if answer:
        messages[2]["tool_calls"][0]["function"]["arguments"] = answer
        messages[3]["content"] = answer
    if not failed:
        messages.append(
            {"role": "assistant", "content": answer or f"That comes to {given} dollars.\n\nAnswer: {given}"}
        )
    turns = sum(message["role"] == "assistant" for message in messages)
    usage = {
        "input_tokens": 310 * turns,
        "output_tokens": 34 * turns,
        "cached_tokens": 200 * turns,
        "reasoning_tokens": 0,
    }
    call = {
        "request": content_id([prompt["id"], "request"], 64),
        "finish_reason": "stop",
        "usage": {name: count // turns for name, count in usage.items()},
        "cost_usd": 0.00012,
        "model": "local/qwen2.5-coder-0.5b-instruct",
        "response_id": None,
        "created_at": "2026-01-01T00:00:00Z",
        "latency_ms": 900.0,
        "attempts": 1,
    }
    error = {
        "kind": "timeout",
        "where": "teacher",
        "message": "no answer within 60 s",
        "http_status": None,
        "retryable": True,
        "request": None,
    }
    return {
        "id": content_id([prompt["id"], 0]),
        "key": content_id([prompt["id"], "key"]),
        "prompt_id": prompt["id"],
        "sample": 0,
        "split": prompt["split"],
        "created_at": "2026-01-01T00:00:00Z",
        "model": "local/qwen2.5-coder-0.5b-instruct",
        "teacher": {"api": "chat", "temperature": 0.7},
        "status": "failed" if failed else "completed",
        "stop_reason": "timeout" if failed else "final_answer",
        "error": error if failed else None,
        "messages": messages,
        "tools": TOOLS,
        "calls": [call] * turns,
        "usage": usage,
        "cost_usd": round(turns * 0.00012, 6),
        "docker": None,
        "metadata": prompt["metadata"],
        "versions": {"distill": "0.1.0", "llama.cpp": "b11549"},
    }


def make_exam(who: str, prompt: dict[str, Any], right: bool) -> dict[str, Any]:
    """What base or student made of a held-out prompt."""
    expected = prompt["metadata"]["expected_answer"]
    said = f"Answer: {expected}" if right else "Sure! I can help you with that. The item costs a lot of money."
    messages = [
        *prompt["messages"],
        *(_calls(prompt) if who == "student" else []),
        {"role": "assistant", "content": said},
    ]
    return {
        "who": who,
        "prompt_id": prompt["id"],
        "sample": 0,
        "status": "completed",
        "stop_reason": "final_answer",
        "error": None,
        "answer": str(expected) if right else None,
        "correct": right,
        "why": None if right else "number: no number",
        "messages": messages,
        "tool_calls": len(messages) // 2 - 1,
        "valid_calls": len(messages) // 2 - 1,
        "turns": len(messages) // 2,
        "usage": {**NO_USAGE, "input_tokens": 400, "output_tokens": 52},
    }
