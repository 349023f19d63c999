"""Runs one rollout, from the first turn to its stop reason. A failure on the way is part of the result."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from distill.records.types import Message, ToolCall
from distill.teacher.answer import Answer
from distill.teacher.errors import KINDS, ApiError, Fatal
from distill.tools.source import SessionLost
from distill.tools.toolbox import Toolbox

Ask = Callable[[list[Message]], Awaitable[Answer]]
Call = Callable[[list[ToolCall]], Awaitable[list[str]]]
Extra = TypeVar("Extra")


@dataclass
class Conversation:
    """A conversation: all messages (the prompt's first), the answers among them, and why it stopped."""

    messages: list[Message]
    answers: list[Answer] = field(default_factory=list)
    status: str = "failed"
    stop_reason: str = "max_turns"
    error: dict[str, Any] | None = None


async def run(messages: list[Message], ask: Ask, call: Call, max_turns: int) -> Conversation:
    """Alternates between a model and its tools until the model answers without calling a tool, or cannot go on.

    `messages` is the prompt; `ask` gets the whole conversation so far and returns the next answer; `call` runs the tool
    calls of one answer and gives their results in the same order. Raises only Fatal, which concerns the whole run.
    """
    conversation = Conversation(list(messages))
    for _ in range(max_turns):
        try:
            answer = await ask(conversation.messages)
        except Fatal:
            raise
        except ApiError as error:
            conversation.stop_reason = "context_full" if error.kind == "context_full" else "api_error"
            conversation.error = _error(error.kind, "teacher", error.message, error.http_status)
            return conversation
        conversation.answers.append(answer)
        conversation.messages.append(answer["message"])
        stop = stop_reason(answer)
        if stop:
            conversation.stop_reason = stop
            conversation.status = "completed" if stop == "final_answer" else "failed"
            return conversation
        calls = answer["message"]["tool_calls"]
        try:
            results = await call(calls)
        except SessionLost as error:
            conversation.stop_reason, conversation.error = "tool_failure", _error("tool_session", "tools", str(error))
            return conversation
        conversation.messages += [
            {"role": "tool", "tool_call_id": tool_call["id"], "content": result}
            for tool_call, result in zip(calls, results, strict=True)
        ]
    return conversation


async def retry_if_tools_lost(
    attempt: Callable[[], Awaitable[tuple[Conversation, Extra]]], toolbox: Toolbox
) -> tuple[Conversation, Extra]:
    """The conversation of `attempt` and what it returns with it; tried once more when its tools were lost.

    Raises InputError when a tool server or the container engine is gone: everything else would be lost, too.
    """
    for _ in range(2):
        conversation, extra = await attempt()
        if conversation.stop_reason != "tool_failure":
            break
        await toolbox.check_alive()
    return conversation, extra


def stop_reason(answer: Answer) -> str | None:
    """Why an answer ends the rollout; None when it has tool calls to run."""
    if answer["finish_reason"] == "length":
        return "truncated"
    if answer["message"].get("refusal") or answer["finish_reason"] == "content_filter":
        return "refused"
    return None if answer["message"].get("tool_calls") else "final_answer"


def _error(kind: str, where: str, message: str, http_status: int | None = None) -> dict[str, Any]:
    retryable = KINDS[kind].fate == "retry"
    return {"kind": kind, "where": where, "message": message, "http_status": http_status, "retryable": retryable}
