"""Finished conversations of others as our rollout records: `{messages, tools, metadata}`, one JSON object a line.

That is what rnow's converter writes and what OpenAI's fine-tuning takes. They say neither who answered nor at what
cost, so `model` is "unknown"; whatever they say goes into the row unchanged.
"""

from typing import Any

from distill.dataset import rnow

KEYS = {"messages", "tools", "metadata", "parallel_tool_calls"}


def is_plain(value: Any) -> bool:
    """Whether a parsed line is such a row: `messages`, and nothing that only our own records have."""
    return isinstance(value, dict) and "messages" in value and set(value) <= KEYS


def as_rnow(value: dict[str, Any]) -> dict[str, Any]:
    """The row in the shape of a rollout that rnow finished."""
    return {"completed": True, "conversation": value["messages"], "metadata": value.get("metadata")}


def rollout(value: dict[str, Any], name: str, sample: int) -> dict[str, Any]:
    """Our rollout record; not validated here. `name` tells the rows of all files apart: `<path>:<line>`."""
    record = rnow.rollout(as_rnow(value), name, sample)
    return {**record, "key": f"row/{name}", "tools": value.get("tools") or []}


def prompt_fault(value: dict[str, Any]) -> str | None:
    """What is wrong with a conversation in which nobody answers."""
    roles = [message.get("role") for message in value["messages"] if isinstance(message, dict)]
    return None if "assistant" in roles else "/messages: no assistant message: prompts belong into data/seed/"
