"""The exam: base and student answer the held-out prompts through the teacher's agent loop and tools."""

import asyncio
from collections.abc import Callable
from itertools import product
from typing import Any

from distill.agent.rollout import Conversation, retry_if_tools_lost
from distill.agent.turns import seed
from distill.answers import grade, judge
from distill.records.faults import InputError
from distill.records.spoken import begin
from distill.records.types import Message, Metadata, Params, Prompt, Rollout, Sampling, ToolSchema
from distill.student import hub
from distill.student.evaluation.score import LOST
from distill.student.serving.converse import converse
from distill.teacher.answer import total
from distill.teacher.errors import Fatal
from distill.teacher.model import Model
from distill.tools.arguments import parse
from distill.tools.toolbox import Toolbox


async def evaluate(
    who: str,
    prompts: list[Prompt],
    model: Model,
    sampling: Sampling,
    toolbox: Toolbox,
    params: Params,
    on_done: Callable[[dict[str, Any]], None],
) -> list[dict[str, Any]]:
    """`evaluate.samples` conversations per prompt (schemas/evaluated.schema.json), in the order of the prompts.

    Every model sees the prompt as it is, without the teacher's demonstrations; `sampling` goes into each request. A
    conversation that fails is recorded with its error; raises InputError where the model answers nothing at all or the
    container engine or a tool server is gone, since such an exam would say nothing about a student.
    """
    places = asyncio.Semaphore(model.max_concurrent)

    async def attempt(prompt: Prompt, sample: int) -> tuple[Conversation, list[ToolSchema]]:
        async with toolbox.open(prompt) as session:
            seeded = sampling | {"seed": seed(prompt["id"], sample)} if sampling["temperature"] else sampling
            conversation = await converse(prompt["messages"], model, seeded, session, params["agent"]["max_turns"])
            return conversation, session.schemas

    async def converse_about(prompt: Prompt, sample: int) -> dict[str, Any]:
        async with places:
            conversation, offered = await retry_if_tools_lost(lambda: attempt(prompt, sample), toolbox)
        record = from_conversation(who, prompt, sample, conversation, offered)
        on_done(record)
        return record

    pairs = product(prompts, range(params["evaluate"]["samples"]))
    tasks = [asyncio.create_task(converse_about(prompt, sample)) for prompt, sample in pairs]
    try:
        records = list(await asyncio.gather(*tasks))
    except Fatal as error:
        raise _unreachable(who, error.message, params) from None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    errors = [record["error"]["message"] for record in records if record["error"]]
    if errors and not any(record["turns"] for record in records):
        raise _unreachable(who, errors[0], params)
    return records


def _unreachable(who: str, reason: str, params: Params) -> InputError:
    path, url = params["student"]["path"], params["runtime"]["student_url"]
    name = hub.without_revision(path)
    needed = f"; runtime.student_url ({url}) has to serve the base as {name} and the adapter as student"
    return InputError(f"the {who} cannot be asked: {reason}{f'{needed}; null: it is served here' if url else ''}")


def from_conversation(
    who: str, prompt: Prompt, sample: int, conversation: Conversation, offered: list[ToolSchema]
) -> dict[str, Any]:
    """The exam record of a conversation with the tools `offered`."""
    return {
        "who": who,
        "prompt_id": prompt["id"],
        "sample": sample,
        "status": conversation.status,
        "stop_reason": conversation.stop_reason,
        "error": _error(who, conversation.error),
        "usage": total([answer["usage"] for answer in conversation.answers]),
        **graded(conversation.messages, len(prompt["messages"]), prompt["metadata"], conversation.status, offered),
    }


def from_rollout(rollout: Rollout) -> dict[str, Any]:
    """The exam record of a teacher's rollout on a held-out prompt. Of one that was LOST nobody knows whether the teacher
    would have been right."""
    found = graded(rollout["messages"], begin(rollout), rollout["metadata"], rollout["status"], rollout["tools"])
    if rollout["stop_reason"] in LOST:
        found |= {"correct": None, "why": None}
    return {
        "who": "teacher",
        "prompt_id": rollout["prompt_id"],
        "sample": rollout["sample"],
        "status": rollout["status"],
        "stop_reason": rollout["stop_reason"],
        "error": _error("teacher", rollout["error"]),
        "usage": rollout["usage"],
        **found,
    }


def _error(who: str, error: dict[str, Any] | None) -> dict[str, Any] | None:
    """The fields of an error that a reader needs. The agent loop calls every model the teacher; here it is `who`."""
    if error is None:
        return None
    where = who if error["where"] == "teacher" else error["where"]
    return {"kind": error["kind"], "where": where, "message": error["message"]}


def settle(
    exams: dict[str, list[dict[str, Any]]], prompts: list[Prompt], params: Params
) -> tuple[dict[str, int], judge.Rulings]:
    """Asks the judge about every answer that is still open (`answer_type: judge`), and writes its rulings into the exam
    records; gives on how many answers of each model it gave no verdict, and the rulings. Those answers count as wrong.
    Raises InputError as `judge.rulings`.
    """
    metadata = {prompt["id"]: prompt["metadata"] for prompt in prompts}
    all_records = [(who, record) for who, records in exams.items() for record in records]
    questions = [
        judge.open_question(record["messages"], metadata[record["prompt_id"]], record["answer"], record["correct"])
        for _, record in all_records
    ]
    rulings = judge.rulings(questions, params, "evaluate")
    no_verdict = dict.fromkeys(exams, 0)
    for (who, record), question in zip(all_records, questions, strict=True):
        if question:
            correct, why, _ = rulings[question]
            no_verdict[who] += correct is None
            record |= {"correct": bool(correct), "why": why}
    return no_verdict, rulings


def graded(
    messages: list[Message], prompt: int, metadata: Metadata, status: str, offered: list[ToolSchema]
) -> dict[str, Any]:
    """The results of a conversation: its answer, whether that is right (of a completed one only), and its tool calls. The
    first `prompt` messages are the prompt."""
    turns = [message for message in messages[prompt:] if message["role"] == "assistant"]
    calls = [call for message in turns for call in message.get("tool_calls", [])]
    found = grade(messages if status == "completed" else [], metadata)
    return {
        "answer": found.answer,
        "correct": found.correct,
        "why": found.why,
        "messages": messages,
        "tool_calls": len(calls),
        "valid_calls": sum(parse(call, offered)[1] is None for call in calls),
        "turns": len(turns),
    }
