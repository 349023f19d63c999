"""What a model said in a conversation, and what stood in its prompt: that may hold assistant messages, too."""

from typing import Any


def spoken(messages: list[dict[str, Any]], count: int) -> list[int]:
    """The places of the last `count` assistant messages, those that answer the prompt."""
    places = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
    return places[len(places) - count :]


def begin(rollout: dict[str, Any]) -> int:
    """Where the model of a rollout record begins to speak: behind the end, if it failed before it said anything.
    Conversations from elsewhere do not say it: there every turn counts as the model's, and the place is 0."""
    if rollout["calls"]:
        return spoken(rollout["messages"], len(rollout["calls"]))[0]
    ours = bool(rollout["versions"])
    return len(rollout["messages"]) if ours else 0


def unlearned(rollout: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages of a rollout record, with `weight: 0` on what its prompt lets the assistant say."""
    first = begin(rollout)
    return [
        {**message, "weight": 0} if place < first and message["role"] == "assistant" else message
        for place, message in enumerate(rollout["messages"])
    ]
