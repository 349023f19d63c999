"""Finished conversations of others as our rollout records: `{messages, tools, metadata}`, one JSON object a line.

That is what rnow's converter writes and what OpenAI's fine-tuning takes. They say neither who answered nor at what
cost, so `model` is "unknown"; whatever they say goes into the row unchanged. Training rows of another project of this
kind do say who answered.
"""

from typing import Any

from distill.dataset import rnow

KEYS = {"messages", "tools", "metadata", "parallel_tool_calls"}
OF_A_ROW = {"prompt_id", "rollout_id", "sample", "split", "teacher", "outcome"}


def is_plain(value: Any) -> bool:
    """Whether a parsed line is such a row: `messages`, and beside it nothing, or what our training rows have."""
    return isinstance(value, dict) and "messages" in value and set(value) - KEYS in (set(), OF_A_ROW)


def as_rnow(value: dict[str, Any]) -> dict[str, Any]:
    """The row in the shape of a rollout that rnow finished."""
    return {"completed": True, "conversation": value["messages"], "metadata": value.get("metadata")}


def rollout(value: dict[str, Any], name: str, sample: int) -> dict[str, Any]:
    """Our rollout record; not validated here. `name` tells the rows of all files apart: `<path>:<line>`."""
    record = rnow.rollout(as_rnow(value), name, sample)
    model = value.get("teacher", record["model"])
    return {**record, "key": f"row/{name}", "model": model, "tools": value.get("tools") or []}


def other_fault(value: Any) -> str | None:
    """What is wrong with a line that is neither a conversation nor a rollout, None if it may be a rollout of ours."""
    if not isinstance(value, dict) or "prompt_id" in value:
        return None
    if "messages" in value:
        unknown = ", ".join(sorted(set(value) - KEYS))
        return f"/: a conversation has the keys messages, tools and metadata, not {unknown}: put that into metadata"
    sharegpt = "; `conversations` of from and value have to become messages of role and content"
    return f"/: no messages, so this is no conversation{sharegpt if 'conversations' in value else ''}"


def prompt_fault(value: dict[str, Any]) -> str | None:
    """What is wrong with a conversation in which nobody answers."""
    roles = [message.get("role") for message in value["messages"] if isinstance(message, dict)]
    return None if "assistant" in roles else "/messages: no assistant message: prompts belong into data/seed/"
