"""Rollouts, kept and rejected rows, and evaluated conversations, joined: one record per thing to read."""

from collections.abc import Container, Iterable
from typing import Any

from distill import answers

Record = dict[str, Any]


def join(
    prompts: Iterable[Record],
    rollouts: Iterable[Record],
    rows: Iterable[Record],
    evaluated: Iterable[Record],
    validation: Container[str] = (),
) -> list[Record]:
    """One conversation per rollout, and per held-out prompt that only base or student answered.

    In the order of the prompts, then of the samples. Each is {id, prompt_id, sample, split, source, fate,
    metadata, tools, reasons, prompt, talks}: `prompt` holds the messages that all talks begin with, `talks`
    what teacher, student and base made of them. `rows` are kept and rejected ones; one stands in where its rollout is
    not at hand. `validation` are the prompts whose rows training only watched.
    """
    sources = {prompt["id"]: prompt for prompt in prompts}
    by_rollout = {row["rollout_id"]: row for row in rows}
    others: dict[str, list[Record]] = {}
    ruled: dict[str, Record] = {}
    for one in evaluated:
        if one["who"] == "teacher":
            ruled[one["prompt_id"]] = one
        else:
            others.setdefault(one["prompt_id"], []).append(one)
    made = []
    for rollout in rollouts:
        row, prompt_id = by_rollout.pop(rollout["id"], None), rollout["prompt_id"]
        fate = _fate(rollout, row, validation)
        made.append(_of_teacher(rollout, row, fate, ruled.get(prompt_id), others.get(prompt_id, [])))
    for row in by_rollout.values():
        alone = _as_rollout(row)
        made.append(_of_teacher(alone, row, _fate(alone, row, validation), None, others.get(row["prompt_id"], [])))
    seen = {one["prompt_id"] for one in made}
    made += [_of_student(prompt_id, talks, sources) for prompt_id, talks in others.items() if prompt_id not in seen]
    place = {prompt_id: number for number, prompt_id in enumerate(sources)}
    for one in made:
        one["source"] = sources.get(one["prompt_id"], {}).get("source")
    return sorted(made, key=lambda one: (place.get(one["prompt_id"], len(place)), one["sample"], one["id"]))


def _of_teacher(rollout: Record, row: Record | None, fate: str, ruled: Record | None, others: list[Record]) -> Record:
    talks = [_teacher_talk(rollout, row, fate, ruled)]
    if rollout["split"] == "eval":
        talks += [_talk(one) for one in sorted(others, key=lambda one: one["who"], reverse=True)]
    return {
        "id": rollout["id"],
        "prompt_id": rollout["prompt_id"],
        "sample": rollout["sample"],
        "split": rollout["split"],
        "fate": fate,
        "metadata": rollout["metadata"],
        "tools": rollout["tools"],
        "reasons": (row or {}).get("reasons", []),
        **_shared(talks),
    }


def _of_student(prompt_id: str, others: list[Record], sources: dict[str, Record]) -> Record:
    return {
        "id": prompt_id,
        "prompt_id": prompt_id,
        "sample": 0,
        "split": "eval",
        "fate": "held_out",
        "metadata": sources.get(prompt_id, {}).get("metadata", {}),
        "tools": [],
        "reasons": [],
        **_shared([_talk(one) for one in sorted(others, key=lambda one: one["who"], reverse=True)]),
    }


def _as_rollout(row: Record) -> Record:
    """What a row still says of its rollout."""
    outcome = row["outcome"]
    return {
        **{key: row[key] for key in ("prompt_id", "sample", "split", "metadata", "tools", "messages")},
        "id": row["rollout_id"],
        "model": row["teacher"],
        "status": outcome["status"],
        "stop_reason": outcome["stop_reason"],
        "error": None,
        "usage": None,
        "tokens": outcome["tokens"],
        "cost_usd": outcome["cost_usd"],
    }


def _fate(rollout: Record, row: Record | None, validation: Container[str]) -> str:
    if rollout["split"] == "eval":
        return "held_out"
    if row:
        return "rejected" if "reasons" in row else "validation" if row["prompt_id"] in validation else "trained"
    return "failed" if rollout["status"] == "failed" else "waiting"


def _teacher_talk(rollout: Record, row: Record | None, fate: str, ruled: Record | None) -> Record:
    messages = (row or rollout)["messages"]
    answer, correct = _judged(rollout, row, ruled)
    return {
        "who": "teacher",
        "model": rollout["model"],
        "messages": messages,
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
        "usage": rollout["usage"],
        "tokens": _tokens(rollout["usage"]) if rollout["usage"] else rollout["tokens"],
        "cost_usd": rollout["cost_usd"],
    }


def _faults(reasons: list[Record]) -> list[tuple[int, str]]:
    """(place of a message, check): where the checks that rejected a row found something."""
    pointers = [(pointer.split("/"), reason["check"]) for reason in reasons for pointer in reason["pointers"]]
    places = [(parts[2], check) for parts, check in pointers if parts[1] == "messages" and len(parts) > 2]
    return sorted({(int(place), check) for place, check in places if place.isdigit()})


def _talk(one: Record) -> Record:
    """Base's or student's conversation on a held-out prompt."""
    return {
        **{key: one[key] for key in ("who", "messages", "stop_reason", "error", "answer", "correct", "usage")},
        "model": None,
        "learned": [],
        "faults": [],
        "tokens": _tokens(one["usage"]),
        "cost_usd": None,
    }


def _shared(talks: list[Record]) -> Record:
    """Takes the opening system and user messages out of the talks, where all of them have the same."""
    opening = _opening(talks[0]["messages"])
    if any(_opening(talk["messages"]) != opening for talk in talks):
        opening = []
    length = len(opening)
    return {
        "prompt": opening,
        "talks": [
            {
                **talk,
                "messages": talk["messages"][length:],
                "learned": [place - length for place in talk["learned"]],
                "faults": [[place - length, check] for place, check in talk["faults"]],
            }
            for talk in talks
        ],
    }


def _opening(messages: list[Record]) -> list[Record]:
    until = next((place for place, message in enumerate(messages) if message["role"] == "assistant"), len(messages))
    return messages[:until]


def _judged(rollout: Record, row: Record | None, ruled: Record | None) -> tuple[str | None, bool | None]:
    """Answer and verdict: as the row or the evaluation (which may have asked a judge) has them, else by the same rules."""
    if found := row["outcome"] if row else ruled:
        return found["answer"], found["correct"]
    completed = rollout["status"] == "completed"
    answer = answers.extract(rollout["messages"], rollout["metadata"]) if completed else None
    return answer, answers.correct(answer, rollout["metadata"])


def _tokens(usage: Record) -> int:
    return usage["input_tokens"] + usage["output_tokens"]
