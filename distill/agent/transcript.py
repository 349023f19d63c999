"""A rollout for reading in a terminal: who said what, which tools were called with what, and what they said."""

import textwrap
from typing import Any

LONGEST = 1500
WIDTH = 110


def transcript(rollout: dict[str, Any]) -> str:
    """The conversation as indented text, with a headline; texts of more than 1500 characters are cut."""
    tokens = rollout["usage"]
    cost = "" if rollout["cost_usd"] is None else f", ${rollout['cost_usd']:.4f}"
    lines = [
        f"── {rollout['id']} · prompt {rollout['prompt_id']} · {rollout['stop_reason']} · {len(rollout['calls'])} turns, "
        f"{tokens['input_tokens']} + {tokens['output_tokens']} tokens{cost}"
    ]
    names: dict[str, str] = {}
    for message in rollout["messages"]:
        if message.get("reasoning_content"):
            lines += _said("thinks", message["reasoning_content"])
        if message.get("content"):
            lines += _said(names.get(message.get("tool_call_id", ""), message["role"]), message["content"])
        if message.get("refusal"):
            lines += _said("refuses", message["refusal"])
        for call in message.get("tool_calls", []):
            names[call["id"]] = call["function"]["name"] + " →"
            lines += _said("calls", f"{call['function']['name']}({call['function']['arguments']})")
    if rollout["error"]:
        lines += _said("error", f"{rollout['error']['kind']}: {rollout['error']['message']}")
    expected = rollout["metadata"].get("expected_answer")
    return "\n".join(lines + (_said("expected", str(expected)) if expected is not None else []))


def _said(who: str, text: str) -> list[str]:
    shown = text if len(text) <= LONGEST else f"{text[:LONGEST]} [… {len(text) - LONGEST} more characters]"
    wrapped = [part for line in shown.splitlines() or [""] for part in textwrap.wrap(line, WIDTH) or [""]]
    return [f"  {who}", *(f"      {part}" for part in wrapped)]
