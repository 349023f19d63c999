"""Rollouts of the `rnow` client as our rollout records: `{id, completed, conversation, …}`, one JSON object a file.

They name neither the model nor the tools that were offered, so `model` is "unknown" and `tools` is empty.
"""

from typing import Any

from distill.records.ids import content_id
from distill.records.types import Rollout

UNKNOWN_TIME = "1970-01-01T00:00:00Z"


def is_rnow(value: Any) -> bool:
    """Whether a parsed file has rnow's shape (key `conversation`) and not ours (`messages`)."""
    return isinstance(value, dict) and "conversation" in value and "messages" not in value


def rollout(value: dict[str, Any], name: str, sample: int) -> Rollout:
    """The rollout record of rnow's `value`; not validated here.

    `name` is the file's path under the rollouts folder: rnow's own ids (`sample_1`) repeat, so ours hashes both.
    `sample` numbers the rollouts of one prompt, which rnow does not.
    """
    stop_reason = _stop_reason(value)
    read, total = value.get("promptTokens") or 0, value.get("totalTokens") or 0
    return {
        "id": content_id({"file": name, "rollout": value}),
        "key": f"rnow/{name}",
        "prompt_id": _prompt_id(value),
        "sample": sample,
        "split": "train",
        "created_at": UNKNOWN_TIME,
        "model": "unknown",
        "teacher": {},
        "status": "completed" if stop_reason == "final_answer" else "failed",
        "stop_reason": stop_reason,
        "error": _error(value) if stop_reason == "api_error" else None,
        "messages": value["conversation"],
        "tools": [],
        "calls": [],
        "usage": {"input_tokens": read, "output_tokens": max(total - read, 0),
                  "cached_tokens": 0, "reasoning_tokens": 0},
        "cost_usd": None,
        "docker": None,
        "metadata": value.get("metadata") or {},
        "versions": {},
    }  # fmt: skip


def _prompt_id(value: dict[str, Any]) -> str:
    """The id of the prepared prompt with the messages before the first answer, if its seed row names no tools. Where the
    user goes on after it, of all that system and user say: many conversations open with the same greeting."""
    messages = value["conversation"]
    roles = [message.get("role") if isinstance(message, dict) else None for message in messages]
    first = roles.index("assistant") if "assistant" in roles else len(roles)
    if "user" not in roles[first:]:
        return content_id({"messages": messages[:first]})
    asked = [message for message, role in zip(messages, roles, strict=True) if role in ("system", "user")]
    return content_id({"messages": asked})


def _stop_reason(value: dict[str, Any]) -> str:
    if value.get("completed") is not True:
        return "api_error"
    if value.get("truncated"):
        return "truncated"
    last = value["conversation"][-1] if value["conversation"] else {}
    role = last.get("role") if isinstance(last, dict) else None
    if role == "user":
        return "unanswered"
    return "final_answer" if role == "assistant" and not last.get("tool_calls") else "max_turns"


def _error(value: dict[str, Any]) -> dict[str, Any]:
    reported = value.get("error") or "; ".join(str(error) for error in value.get("errors") or [])
    message = str(reported or "the rollout was not finished when the file was written")
    return {
        "kind": "rnow",
        "where": "rnow",
        "message": message,
        "http_status": None,
        "retryable": False,
        "request": None,
    }
