"""The held-out prompts, answered by base and student through the teacher's agent loop and tools."""

import asyncio
from collections.abc import Callable
from typing import Any

from distill.agent.rollout import Conversation, retry_if_tools_lost, run
from distill.answers import correct, extract, judge
from distill.records.faults import InputError
from distill.records.spoken import begin
from distill.student import hub
from distill.student.render import as_said
from distill.teacher import request as requests
from distill.teacher.answer import Answer, total
from distill.teacher.errors import Fatal
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

    Every model sees the prompt as it is, without the teacher's demonstrations; `sampling` goes into each request. What
    fails on the way is in the record; raises InputError where the model cannot be asked at all, since an exam without
    answers says nothing of a student.
    """
    places = asyncio.Semaphore(model.places)
    heard = False

    async def talk_about(prompt: dict[str, Any]) -> tuple[Conversation, list[dict[str, Any]]]:
        async with toolbox.open(prompt) as session:

            async def ask(messages: list[dict[str, Any]]) -> Answer:
                nonlocal heard
                session.start()
                answer = await model.ask(requests.build(model.identity, messages, session.schemas, sampling))
                heard = True
                return {**answer, "message": as_said(answer["message"])}

            async def call(made: dict[str, Any]) -> str:
                return (await session.call(made)).content

            return await run(prompt["messages"], ask, call, params["agent"]["max_turns"]), session.schemas

    async def one(prompt: dict[str, Any]) -> dict[str, Any]:
        async with places:
            talk, offered = await retry_if_tools_lost(lambda: talk_about(prompt))
        record = evaluated(who, prompt, talk, offered)
        on_done(record)
        return record

    tasks = [asyncio.create_task(one(prompt)) for prompt in prompts]
    try:
        records = list(await asyncio.gather(*tasks))
    except Fatal as error:
        raise _unheard(who, error.message, params) from None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    words = [record["error"]["message"] for record in records if record["error"]]
    if words and not heard:
        raise _unheard(who, words[0], params)
    return records


def _unheard(who: str, words: str, params: dict[str, Any]) -> InputError:
    path, url = params["student"]["path"], params["runtime"]["student_url"]
    name = hub.without_revision(path)
    served = f"; runtime.student_url ({url}) has to serve the base as {name} and the adapter as student" if url else ""
    return InputError(f"the {who} cannot be asked: {words}{served}")


def evaluated(who: str, prompt: dict[str, Any], talk: Conversation, offered: list[dict[str, Any]]) -> dict[str, Any]:
    """The exam record of a conversation."""
    return {
        "who": who,
        "prompt_id": prompt["id"],
        "status": talk.status,
        "stop_reason": talk.stop_reason,
        "error": _error(who, talk.error),
        "usage": total([answer["usage"] for answer in talk.answers]),
        **judged(talk.messages, len(prompt["messages"]), prompt["metadata"], talk.status, offered),
    }


def from_rollout(rollout: dict[str, Any]) -> dict[str, Any]:
    """The exam record of a teacher's rollout on a held-out prompt."""
    return {
        "who": "teacher",
        "prompt_id": rollout["prompt_id"],
        "status": rollout["status"],
        "stop_reason": rollout["stop_reason"],
        "error": _error("teacher", rollout["error"]),
        "usage": rollout["usage"],
        **judged(rollout["messages"], begin(rollout), rollout["metadata"], rollout["status"], rollout["tools"]),
    }


def _error(who: str, error: dict[str, Any] | None) -> dict[str, Any] | None:
    """What a reader needs of an error. To the agent loop, whoever is asked is the teacher."""
    if error is None:
        return None
    where = who if error["where"] == "teacher" else error["where"]
    return {"kind": error["kind"], "where": where, "message": error["message"]}


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
    messages: list[dict[str, Any]], prompt: int, metadata: dict[str, Any], status: str, offered: list[dict[str, Any]]
) -> dict[str, Any]:
    """What a conversation is worth: its answer, whether that is right (only of a completed one), its tool calls; its
    first `prompt` messages are the prompt's."""
    said = [message for message in messages[prompt:] if message["role"] == "assistant"]
    calls = [call for message in said for call in message.get("tool_calls", [])]
    answer = extract(messages, metadata) if status == "completed" else None
    return {
        "answer": answer,
        "correct": correct(answer, metadata),
        "messages": messages,
        "tool_calls": len(calls),
        "valid_calls": sum(parse(call, offered)[1] is None for call in calls),
        "turns": len(said),
    }
