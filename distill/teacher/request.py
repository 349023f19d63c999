"""What is asked of a model, in canonical form: the whole of it, and nothing else, is the key of the answer."""

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


def with_demonstrations(messages: list[Message], shown: list[Message]) -> list[Message]:
    """The prompt with example conversations between its system messages and the rest (they are not recorded)."""
    first = next((place for place, message in enumerate(messages) if message["role"] != "system"), len(messages))
    return messages[:first] + shown + messages[first:]


def seed(prompt_id: str, sample: int) -> int:
    """A sampling seed that belongs to the prompt and the sample: 31 bits, the same on every machine."""
    return int(content_id([prompt_id, sample]), 16) % 2**31
