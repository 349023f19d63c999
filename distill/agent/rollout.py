"""One rollout, from the first turn to its stop reason. What goes wrong on the way is data: it ends up in the result."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from distill.teacher.answer import Answer
from distill.teacher.errors import KINDS, ApiError, ContextFull, Fatal
from distill.tools.source import SessionLost

Ask = Callable[[list[dict[str, Any]]], Awaitable[Answer]]
Call = Callable[[dict[str, Any]], Awaitable[str]]
Beside = TypeVar("Beside")


@dataclass
class Conversation:
    """What happened: all messages (the prompt's first), the answers behind them, and why it stopped."""

    messages: list[dict[str, Any]]
    answers: list[Answer] = field(default_factory=list)
    status: str = "failed"
    stop_reason: str = "max_turns"
    error: dict[str, Any] | None = None


async def run(messages: list[dict[str, Any]], ask: Ask, call: Call, max_turns: int) -> Conversation:
    """Lets a model and its tools talk until it answers without calling a tool, or cannot go on.

    `messages` is the prompt; `ask` gets the whole conversation so far and returns the next answer; `call` runs one
    tool call. Calls of one turn run side by side; their results stand in the order of the calls. Only `Fatal` leaves
    this function: it concerns the whole run.
    """
    talk = Conversation(list(messages))
    for _ in range(max_turns):
        try:
            answer = await ask(talk.messages)
        except Fatal:
            raise
        except ApiError as error:
            talk.stop_reason = "context_full" if isinstance(error, ContextFull) else "api_error"
            talk.error = _error(error.kind, "teacher", error.message, error.http_status)
            return talk
        talk.answers.append(answer)
        talk.messages.append(answer["message"])
        stop = _stop_reason(answer)
        if stop:
            talk.stop_reason = stop
            talk.status = "completed" if stop == "final_answer" else "failed"
            return talk
        calls = answer["message"]["tool_calls"]
        results = await _settled([call(one) for one in calls])
        lost = next((result for result in results if isinstance(result, BaseException)), None)
        if isinstance(lost, SessionLost):
            talk.stop_reason, talk.error = "tool_failure", _error("tool_session", "tools", str(lost))
            return talk
        if lost:
            raise lost
        talk.messages += [
            {"role": "tool", "tool_call_id": one["id"], "content": result}
            for one, result in zip(calls, results, strict=True)
        ]
    return talk


async def with_tools(attempt: Callable[[], Awaitable[tuple[Conversation, Beside]]]) -> tuple[Conversation, Beside]:
    """The conversation of `attempt` and what comes with it; made once more when its tools were lost on the way."""
    talk, beside = await attempt()
    if talk.stop_reason == "tool_failure":
        talk, beside = await attempt()
    return talk, beside


async def _settled(works: list[Awaitable[str]]) -> list[str | BaseException]:
    """What each returns or raises, side by side; one alone needs no task for that."""
    if len(works) > 1:
        return await asyncio.gather(*works, return_exceptions=True)
    try:
        return [await works[0]]
    except Exception as error:
        return [error]


def _stop_reason(answer: Answer) -> str | None:
    """Why an answer ends the rollout; None when its tool calls are to be run."""
    if answer["finish_reason"] == "length":
        return "truncated"
    if answer["message"].get("refusal") or answer["finish_reason"] == "content_filter":
        return "refused"
    return None if answer["message"].get("tool_calls") else "final_answer"


def _error(kind: str, where: str, message: str, http_status: int | None = None) -> dict[str, Any]:
    retryable = KINDS[kind].fate == "retry"
    return {"kind": kind, "where": where, "message": message, "http_status": http_status, "retryable": retryable}
