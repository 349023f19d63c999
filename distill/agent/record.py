"""The record of a rollout, and back: all that the store knew about a conversation can be had from its record."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

from distill.agent.rollout import Conversation
from distill.agent.setting import Setting
from distill.agent.turns import Turns
from distill.records.spoken import spoken
from distill.teacher.answer import Answer, total
from distill.teacher.errors import ApiError
from distill.tools.session import Told

LOOP_VERSION = "1"
KEPT = (
    "finish_reason",
    "usage",
    "cost_usd",
    "model",
    "response_id",
    "created_at",
    "latency_ms",
    "attempts",
    "tier",
    "items",
    "echo",
)
"""What a call of the record has of its answer: everything but the message, which stands in the conversation."""


def record(prompt: dict[str, Any], sample: int, setting: Setting, talk: Conversation, turns: Turns) -> dict[str, Any]:
    """The rollout record of a conversation (schemas/rollout.schema.json)."""
    key = setting.rollout_key(prompt, sample)
    row = setting.row_id(prompt)
    costs = [answer["cost_usd"] for answer in turns.answers]
    return {
        "id": key[:16],
        "key": key,
        "prompt_id": prompt["id"],
        "sample": sample,
        "split": prompt["split"],
        "created_at": turns.answers[0]["created_at"] if turns.answers else "1970-01-01T00:00:00Z",
        "model": setting.params["model"],
        "teacher": setting.asked,
        "status": talk.status,
        "stop_reason": talk.stop_reason,
        "error": talk.error and {**talk.error, "request": turns.error.request if turns.error else None},
        "messages": talk.messages,
        "tools": turns.offered,
        "origins": {offer.name: source.origin for source, offer in setting.toolbox.offered(prompt).tools},
        "calls": [_call(*turn) for turn in zip(turns.keys, turns.answers, turns.told, strict=True)],
        "usage": total([answer["usage"] for answer in turns.answers]),
        "cost_usd": None if None in costs else math.fsum(cost for cost in costs if cost is not None),
        "docker": _docker(prompt, turns),
        "metadata": prompt["metadata"],
        "versions": {"loop": LOOP_VERSION, "tools": setting.version(prompt)} | ({"row": row} if row else {}),
    }


class Known(NamedTuple):
    """What a record says of one request: the answer or the failure, and what the tools said to the answer's calls."""

    key: str
    answer: Answer | None
    failure: ApiError | None
    results: list[Told]


def known(rollout: dict[str, Any]) -> Iterator[Known]:
    """Every request behind a rollout record, with its outcome exactly as the store had it."""
    messages, calls = rollout["messages"], rollout["calls"]
    for call, place in zip(calls, spoken(messages, len(calls)), strict=True):
        answer = {"message": messages[place], **{name: call[name] for name in KEPT if name in call}}
        results = []
        for message in messages[place + 1 :]:
            if message["role"] != "tool":
                break
            results.append(message["content"])
        times = call.get("tool_ms", [None] * len(results))
        image = (rollout["docker"] or {}).get("id")
        told = [Told(*one, image) for one in zip(results, times, strict=True)]
        yield Known(call["request"], cast(Answer, answer), None, told)
    error = rollout["error"]
    if error and error.get("request"):
        yield Known(error["request"], None, ApiError(error["kind"], error["message"], error["http_status"]), [])


def _call(key: str, answer: Answer, told: list[Told]) -> dict[str, Any]:
    call = {"request": key} | {name: answer[name] for name in KEPT if name in answer}  # type: ignore[literal-required]
    return call | ({"tool_ms": [one.ms for one in told]} if told else {})


def _docker(prompt: dict[str, Any], turns: Turns) -> dict[str, Any] | None:
    """The sandbox: the image as the row has it, and the id of what that was when the tools first ran in it."""
    if not prompt.get("docker"):
        return None
    ids = [one.image for told in turns.told for one in told if one.image]
    return {"image": prompt["docker"], "id": ids[0] if ids else None}
