"""Separates the model's own turns from the prompt, which may contain assistant messages, too."""

from distill.records.types import Message, Rollout


def spoken(messages: list[Message], count: int) -> list[int]:
    """The indices of the last `count` assistant messages, those that answer the prompt."""
    places = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
    return places[len(places) - count :]


def first_own(messages: list[Message], turns: int) -> int:
    """The index of the model's first own turn, of `turns` that it had; the number of messages if it had none."""
    return spoken(messages, turns)[0] if turns else len(messages)


def begin(rollout: Rollout) -> int:
    """The index of the model's first own turn in a rollout record; the number of messages if it failed before any.

    Conversations from elsewhere do not record it: there every turn counts as the model's, and the index is 0.
    """
    if rollout["calls"]:
        return first_own(rollout["messages"], len(rollout["calls"]))
    from_this_project = bool(rollout["versions"])
    return len(rollout["messages"]) if from_this_project else 0


def unlearned(rollout: Rollout) -> list[Message]:
    """The messages of a rollout record, with `weight: 0` (not trained on) on the assistant messages of its prompt."""
    first = begin(rollout)
    return [
        {**message, "weight": 0} if place < first and message["role"] == "assistant" else message
        for place, message in enumerate(rollout["messages"])
    ]
