"""The held-out prompts, answered by base and student through the teacher's agent loop and tools."""

import asyncio
from collections.abc import Callable
from typing import Any

from distill.agent.rollout import Conversation, run
from distill.dataset import judge
from distill.dataset.answers import correct, extract
from distill.teacher import request as requests
from distill.teacher.answer import Answer, total
from distill.teacher.provider import Model
from distill.tools.arguments import parse
from distill.tools.toolbox import Toolbox


async def sit(
    who: str,
    prompts: list[dict[str, Any]],
    model: Model,
    sampling: dict[str, Any],
    toolbox: Toolbox,
    params: dict[str, Any],
    on_done: Callable[[dict[str, Any]], None],
) -> list[dict[str, Any]]:
    """One conversation per prompt (schemas/evaluated.schema.json), in the order of the prompts.

    Every model sees the prompt as it is, without the teacher's demonstrations; `sampling` goes into each request.
    """
    places = asyncio.Semaphore(model.places)

    async def one(prompt: dict[str, Any]) -> dict[str, Any]:
        async with places, toolbox.open(prompt) as session:

            async def ask(messages: list[dict[str, Any]]) -> Answer:
                session.start()
                return await model.ask(requests.build(model.identity, messages, session.schemas, sampling))

            async def call(made: dict[str, Any]) -> str:
                return (await session.call(made)).content

            talk = await run(prompt["messages"], ask, call, params["agent"]["max_turns"])
        record = evaluated(who, prompt, talk, session.schemas)
        on_done(record)
        return record

    return list(await asyncio.gather(*(one(prompt) for prompt in prompts)))


def evaluated(who: str, prompt: dict[str, Any], talk: Conversation, offered: list[dict[str, Any]]) -> dict[str, Any]:
    """The exam record of a conversation."""
    return {
        "who": who,
        "prompt_id": prompt["id"],
        "status": talk.status,
        "stop_reason": talk.stop_reason,
        "usage": total([answer["usage"] for answer in talk.answers]),
        **judged(talk.messages, prompt["metadata"], talk.status, offered),
    }


def from_rollout(rollout: dict[str, Any]) -> dict[str, Any]:
    """The exam record of a teacher's rollout on a held-out prompt."""
    return {
        "who": "teacher",
        "prompt_id": rollout["prompt_id"],
        "status": rollout["status"],
        "stop_reason": rollout["stop_reason"],
        "usage": rollout["usage"],
        **judged(rollout["messages"], rollout["metadata"], rollout["status"], rollout["tools"]),
    }


def settle(exams: dict[str, list[dict[str, Any]]], prompts: list[dict[str, Any]], params: dict[str, Any]) -> None:
    """Asks the judge about every answer that is still open (`answer_type: judge`), and writes the rulings into the
    exam records. Raises InputError as `judge.rulings` does.
    """
    metadata = {prompt["id"]: prompt["metadata"] for prompt in prompts}
    records = [record for sat in exams.values() for record in sat]
    questions = [
        judge.open_question(record["messages"], metadata[record["prompt_id"]], record["answer"], record["correct"])
        for record in records
    ]
    found = judge.rulings(questions, params, "evaluate")
    for record, question in zip(records, questions, strict=True):
        if question:
            record["correct"] = found[question]


def judged(
    messages: list[dict[str, Any]], metadata: dict[str, Any], status: str, offered: list[dict[str, Any]]
) -> dict[str, Any]:
    """What a conversation is worth: its answer, whether that is right (only of a completed one), its tool calls."""
    calls = [call for message in messages for call in message.get("tool_calls", [])]
    answer = extract(messages, metadata) if status == "completed" else None
    return {
        "answer": answer,
        "correct": correct(answer, metadata),
        "messages": messages,
        "tool_calls": len(calls),
        "valid_calls": sum(parse(call, offered)[1] is None for call in calls),
        "turns": sum(message["role"] == "assistant" for message in messages),
    }
