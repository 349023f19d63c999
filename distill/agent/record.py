"""Converts a conversation to its rollout record, and a record back to the entries of the store it was made from."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

from distill.agent.rollout import Conversation
from distill.agent.setting import Setting
from distill.agent.turns import Turns
from distill.records.spoken import spoken
from distill.records.types import Prompt, Rollout
from distill.teacher.answer import Answer, total
from distill.teacher.errors import ApiError
from distill.tools.session import ToolResult

LOOP_VERSION = "1"
ANSWER_KEYS = tuple(name for name in Answer.__annotations__ if name != "message")
"""The keys of an answer that a call of the record has: all but the message, which is in the conversation."""


def record(prompt: Prompt, sample: int, setting: Setting, conversation: Conversation, turns: Turns) -> dict[str, Any]:
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
        "status": conversation.status,
        "stop_reason": conversation.stop_reason,
        "error": conversation.error and {**conversation.error, "request": turns.error.request if turns.error else None},
        "messages": conversation.messages,
        "tools": turns.offered,
        "origins": {offer.name: source.origin for source, offer in setting.toolbox.offered(prompt).tools},
        "calls": [_call(*turn) for turn in zip(turns.keys, turns.answers, turns.tool_results, strict=True)],
        "usage": total([answer["usage"] for answer in turns.answers]),
        "cost_usd": None if None in costs else math.fsum(cost for cost in costs if cost is not None),
        "docker": _docker(prompt, turns),
        "metadata": prompt["metadata"],
        "versions": {"loop": LOOP_VERSION, "tools": setting.version(prompt)} | ({"row": row} if row else {}),
    }


class Outcome(NamedTuple):
    """The outcome of one request: the answer or the failure, and the results of the answer's tool calls."""

    key: str
    answer: Answer | None
    failure: ApiError | None
    tool_results: list[ToolResult]


def outcomes(rollout: Rollout) -> Iterator[Outcome]:
    """The outcome of every request of a rollout record, exactly as the store had it."""
    messages, calls = rollout["messages"], rollout["calls"]
    for call, place in zip(calls, spoken(messages, len(calls)), strict=True):
        answer = {"message": messages[place], **{name: call[name] for name in ANSWER_KEYS if name in call}}
        contents = []
        for message in messages[place + 1 :]:
            if message["role"] != "tool":
                break
            contents.append(message["content"])
        times = call.get("tool_ms", [None] * len(contents))
        image = (rollout["docker"] or {}).get("id")
        results = [ToolResult(content, ms, image) for content, ms in zip(contents, times, strict=True)]
        yield Outcome(call["request"], cast(Answer, answer), None, results)
    error = rollout["error"]
    if error and error.get("request"):
        yield Outcome(error["request"], None, ApiError(error["kind"], error["message"], error["http_status"]), [])


def _call(key: str, answer: Answer, results: list[ToolResult]) -> dict[str, Any]:
    call = {"request": key} | {name: answer[name] for name in ANSWER_KEYS if name in answer}  # type: ignore[literal-required]
    return call | ({"tool_ms": [result.ms for result in results]} if results else {})


def _docker(prompt: Prompt, turns: Turns) -> dict[str, Any] | None:
    """The sandbox: the image's name as the row has it, and the id of the image that the tools first ran in."""
    if not prompt.get("docker"):
        return None
    ids = [result.image for results in turns.tool_results for result in results if result.image]
    return {"image": prompt["docker"], "id": ids[0] if ids else None}
