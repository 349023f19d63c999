"""A request to a model in canonical form. All of it, with the number of the sample, makes the key of the answer."""

from typing import Any

from distill.records.ids import content_id
from distill.records.types import Message, Request, Sampling, ToolSchema


def build(
    identity: dict[str, Any],
    messages: list[Message],
    tools: list[ToolSchema],
    sampling: Sampling,
) -> Request:
    """A request: who is asked (`identity`), with which conversation, tools and sampling settings."""
    return {**identity, "messages": messages, "tools": tools, "sampling": sampling}


def seed(prompt_id: str, sample: int) -> int:
    """The sampling seed of a prompt's sample: 31 bits, the same on every machine."""
    return int(content_id([prompt_id, sample]), 16) % 2**31
