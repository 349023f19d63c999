"""What a model said in a conversation, and what stood in its prompt: that may hold assistant messages, too."""

from typing import Any


def spoken(messages: list[dict[str, Any]], count: int) -> list[int]:
    """The places of the last `count` assistant messages, those that answer the prompt."""
    places = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
    return places[len(places) - count :]


def begin(rollout: dict[str, Any]) -> int:
    """Where the model of a rollout record begins to speak. Conversations from elsewhere do not say it: there every turn
    counts as the model's, and the place is 0."""
    return spoken(rollout["messages"], len(rollout["calls"]))[0] if rollout["calls"] else 0
