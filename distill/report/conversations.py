"""Joins rollouts, kept and rejected rows, and evaluated conversations into one record per conversation to read."""

from collections.abc import Container, Iterable
from typing import Any

from distill import answers
from distill.records.spoken import begin, first_own
from distill.report.tally import failure

Record = dict[str, Any]


def join(
    prompts: Iterable[Record],
    rollouts: Iterable[Record],
    rows: Iterable[Record],
    evaluated: Iterable[Record],
    validation: Container[str] = (),
) -> list[Record]:
    """One conversation per rollout, and per held-out prompt that only base or student answered.

    In the order of the prompts, then of the samples. Each is {id, prompt_id, sample, split, source, fate, metadata, tools,
    failure, reasons, prompt, talks}: `prompt` holds the messages of the prompt, those of assistants among them, `talks` how
    teacher, student and base went on from there. `rows` are kept and rejected ones; a row stands in for a rollout that is
    not at hand. `validation` are the prompts whose rows were held out of training for the validation loss.
    """
    prompts_by_id = {prompt["id"]: prompt for prompt in prompts}
    rows_by_rollout = {row["rollout_id"]: row for row in rows}
    by_student: dict[str, list[Record]] = {}  # evaluated conversations of base and student, by prompt
    by_teacher: dict[str, Record] = {}
    for record in evaluated:
        if record["who"] == "teacher":
            by_teacher[record["prompt_id"]] = record
        else:
            by_student.setdefault(record["prompt_id"], []).append(record)
    pairs = [(rollout, rows_by_rollout.pop(rollout["id"], None)) for rollout in rollouts]
    pairs += [(_as_rollout(row), row) for row in rows_by_rollout.values()]
    joined = []
    for rollout, row in pairs:
        fate, prompt_id = _fate(rollout, row, validation), rollout["prompt_id"]
        joined.append(_of_rollout(rollout, row, fate, by_teacher.get(prompt_id), by_student.get(prompt_id, [])))
    with_rollout = {conversation["prompt_id"] for conversation in joined}
    joined += [
        _of_student(prompt_id, records, prompts_by_id)
        for prompt_id, records in by_student.items()
        if prompt_id not in with_rollout
    ]
    order = {prompt_id: number for number, prompt_id in enumerate(prompts_by_id)}
    for conversation in joined:
        of_prompt = prompts_by_id.get(conversation["prompt_id"], {}).get("source")
        conversation["source"] = conversation.pop("origin", None) or of_prompt
    return sorted(
        joined, key=lambda record: (order.get(record["prompt_id"], len(order)), record["sample"], record["id"])
    )


def _of_rollout(
    rollout: Record, row: Record | None, fate: str, evaluated: Record | None, by_student: list[Record]
) -> Record:
    """The conversation of a teacher's rollout, with those of base and student where its prompt is held out."""
    talks = [_teacher_talk(rollout, row, fate, evaluated)]
    if rollout["split"] == "eval":
        talks += _student_talks(by_student)
    return {
        "id": rollout["id"],
        "prompt_id": rollout["prompt_id"],
        "sample": rollout["sample"],
        "split": rollout["split"],
        "fate": fate,
        "metadata": rollout["metadata"],
        "tools": rollout["tools"],
        "failure": failure(rollout),
        "reasons": (row or {}).get("reasons", []),
        "origin": (row or {}).get("origin"),
        **_shared(talks),
    }


def _of_student(prompt_id: str, by_student: list[Record], prompts_by_id: dict[str, Record]) -> Record:
    """The conversation of a held-out prompt that the teacher has no rollout of."""
    return {
        "id": prompt_id,
        "prompt_id": prompt_id,
        "sample": 0,
        "split": "eval",
        "fate": "held_out",
        "metadata": prompts_by_id.get(prompt_id, {}).get("metadata", {}),
        "tools": [],
        "failure": None,
        "reasons": [],
        **_shared(_student_talks(by_student)),
    }


def _as_rollout(row: Record) -> Record:
    """A rollout record with as much as a row holds of it."""
    outcome = row["outcome"]
    return {
        **{key: row[key] for key in ("prompt_id", "sample", "split", "metadata", "tools", "messages")},
        "id": row["rollout_id"],
        "model": row["teacher"],
        "status": outcome["status"],
        "stop_reason": outcome["stop_reason"],
        "error": None,
        "turns": outcome["turns"],
        "usage": None,
        "tokens": outcome["tokens"],
        "cost_usd": outcome["cost_usd"],
    }


def _fate(rollout: Record, row: Record | None, validation: Container[str]) -> str:
    """A key of words.FATES."""
    if rollout["split"] == "eval":
        return "held_out"
    if row:
        return "rejected" if "reasons" in row else "validation" if row["prompt_id"] in validation else "trained"
    return "failed" if rollout["status"] == "failed" else "waiting"


def _teacher_talk(rollout: Record, row: Record | None, fate: str, evaluated: Record | None) -> Record:
    messages = (row or rollout)["messages"]
    answer, correct, why = _graded(rollout, row, evaluated)
    return {
        "who": "teacher",
        "model": rollout["model"],
        "messages": messages,
        "begin": begin(rollout) if "calls" in rollout else first_own(messages, rollout["turns"]),
        "learned": [
            number
            for number, message in enumerate(messages)
            if fate == "trained" and message["role"] == "assistant" and message.get("weight", 1) != 0
        ],
        "faults": _faults((row or {}).get("reasons", [])),
        "stop_reason": rollout["stop_reason"],
        "error": rollout["error"],
        "answer": answer,
        "correct": correct,
        "why": why,
        "usage": rollout["usage"],
        "tokens": _tokens(rollout["usage"]) if rollout["usage"] else rollout["tokens"],
        "cost_usd": rollout["cost_usd"],
    }


def _faults(reasons: list[Record]) -> list[tuple[int, str]]:
    """(place of a message, check) for each fault that a check found in a message of a rejected row."""
    pointers = [(pointer.split("/"), reason["check"]) for reason in reasons for pointer in reason["pointers"]]
    places = [(parts[2], check) for parts, check in pointers if parts[1] == "messages" and len(parts) > 2]
    return sorted({(int(place), check) for place, check in places if place.isdigit()})


def _student_talks(records: list[Record]) -> list[Record]:
    """The talks of student and base, in this order, each in that of its samples."""
    return [_talk(record) for record in sorted(records, key=lambda record: record["who"], reverse=True)]


def _talk(evaluated: Record) -> Record:
    """The talk of base or student about a held-out prompt."""
    return {
        **{
            key: evaluated[key]
            for key in ("who", "messages", "stop_reason", "error", "answer", "correct", "usage", "why")
        },
        "model": None,
        "begin": first_own(evaluated["messages"], evaluated["turns"]),
        "learned": [],
        "faults": [],
        "tokens": _tokens(evaluated["usage"]),
        "cost_usd": None,
    }


def _shared(talks: list[Record]) -> Record:
    """The talks, and apart from them the prompt with which all of them begin, without `weight`: none of it is learned."""
    shortest = min(_length(talk) for talk in talks)
    prompts = [[_weightless(message) for message in talk["messages"][:shortest]] for talk in talks]
    prompt = prompts[0] if all(other == prompts[0] for other in prompts) else []
    length = len(prompt)
    return {
        "prompt": prompt,
        "talks": [
            {
                **{key: value for key, value in talk.items() if key != "begin"},
                "messages": talk["messages"][length:],
                "learned": [place - length for place in talk["learned"]],
                "faults": [[place - length, check] for place, check in talk["faults"]],
            }
            for talk in talks
        ],
    }


def _length(talk: Record) -> int:
    """Messages of the prompt: those before the model's first own turn. Conversations from elsewhere do not record where
    that is (`begin` is 0); there every turn counts as the model's."""
    if talk["begin"]:
        return talk["begin"]
    roles = [message["role"] for message in talk["messages"]]
    return roles.index("assistant") if "assistant" in roles else len(roles)


def _weightless(message: Record) -> Record:
    return {key: value for key, value in message.items() if key != "weight"}


def _graded(
    rollout: Record, row: Record | None, evaluated: Record | None
) -> tuple[str | None, bool | None, str | None]:
    """The answer, whether it is correct, and why it is not: from the row or the evaluation (which may have asked a judge),
    else by the same rules."""
    if outcome := row["outcome"] if row else evaluated:
        return outcome["answer"], outcome["correct"], outcome["why"]
    completed = rollout["status"] == "completed"
    answer, correct, _, why = answers.grade(rollout["messages"] if completed else [], rollout["metadata"])
    return answer, correct, why


def _tokens(usage: Record) -> int:
    return usage["input_tokens"] + usage["output_tokens"]
