"""Formats a rollout for a terminal: the messages, the tool calls with their arguments, and the results."""

import textwrap

from distill.records.types import Rollout

MOST_CHARS = 1500
WIDTH = 110


def transcript(rollout: Rollout) -> str:
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
            lines += _block("thinks", message["reasoning_content"])
        if message.get("content"):
            lines += _block(names.get(message.get("tool_call_id", ""), message["role"]), message["content"])
        if message.get("refusal"):
            lines += _block("refuses", message["refusal"])
        for call in message.get("tool_calls", []):
            names[call["id"]] = call["function"]["name"] + " →"
            lines += _block("calls", f"{call['function']['name']}({call['function']['arguments']})")
    if rollout["error"]:
        lines += _block("error", f"{rollout['error']['kind']}: {rollout['error']['message']}")
    expected = rollout["metadata"].get("expected_answer")
    return "\n".join(lines + (_block("expected", str(expected)) if expected is not None else []))


def _block(label: str, text: str) -> list[str]:
    shown = text if len(text) <= MOST_CHARS else f"{text[:MOST_CHARS]} [… {len(text) - MOST_CHARS} more characters]"
    wrapped = [part for line in shown.splitlines() or [""] for part in textwrap.wrap(line, WIDTH) or [""]]
    return [f"  {label}", *(f"      {part}" for part in wrapped)]
