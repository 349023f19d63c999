"""Scores base, student and teacher: the rates of each, what each has right of every prompt, and by groups of prompts."""

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import orjson

from distill.answers import groups
from distill.answers.groups import ANSWER_TYPE
from distill.records.spoken import spoken
from distill.records.types import Message, Prompt, Row
from distill.student.evaluation import interval

LOST = ("api_error", "tool_failure")
"""Stop reasons of conversations that the server or a tool ended, not the model."""


def score(records: list[dict[str, Any]], teacher: list[dict[str, Any]]) -> dict[str, Any]:
    """Rates over exam records of one model; `valid_calls` is of the calls made, null when none was made.

    `n` counts prompts, everything else conversations. `call_agreement` is the share of those in which the model made the
    teacher's calls: same tools, same arguments, same order; `tool_agreement` asks only for the same tools in the same
    order. Both are of the `compared` ones, in which the model or the teacher called a tool: a model that never calls one
    agrees with nobody. Prompts on which the teacher was LOST are not compared: nobody knows what it would have called.
    Records without a known answer do not count into the accuracy.
    """
    correct = [record["correct"] for record in records if record["correct"] is not None]
    calls_made = sum(record["tool_calls"] for record in records)
    theirs = {record["prompt_id"]: _calls(record) for record in teacher if record["stop_reason"] not in LOST}
    both = [(_calls(record), theirs[record["prompt_id"]]) for record in records if record["prompt_id"] in theirs]
    pairs = [(calls, teacher_calls) for calls, teacher_calls in both if calls or teacher_calls]
    same_calls = [calls == teacher_calls for calls, teacher_calls in pairs]
    same_tools = [[name for name, _ in calls] == [name for name, _ in teacher_calls] for calls, teacher_calls in pairs]
    return {
        "n": len({record["prompt_id"] for record in records}),
        "conversations": len(records),
        "known": len(correct),
        "correct": sum(correct),
        "accuracy": share(sum(correct), len(correct)),
        "accuracy_ci": interval.accuracy(list(_right(records).values()), len(correct)),
        "tool_calls": calls_made,
        "valid_calls": share(sum(record["valid_calls"] for record in records), calls_made),
        "tasks_with_call": share(sum(record["tool_calls"] > 0 for record in records), len(records)),
        "compared": len(pairs),
        "tool_agreement": share(sum(same_tools), len(same_tools)),
        "call_agreement": share(sum(same_calls), len(same_calls)),
        "turns_mean": round(sum(record["turns"] for record in records) / max(len(records), 1), 2),
        "output_tokens_mean": round(
            sum(record["usage"]["output_tokens"] for record in records) / max(len(records), 1), 1
        ),
        "stop_reasons": dict(sorted(Counter(record["stop_reason"] for record in records).items())),
    }


def graded(exams: dict[str, list[dict[str, Any]]]) -> dict[str, list[float]]:
    """The share of each model's answers that are right, prompt by prompt, of the prompts where that is known of all models."""
    right = {who: _right(records) for who, records in exams.items()}
    first, *others = right.values()
    known = [prompt for prompt in first if all(prompt in found for found in others)]
    return {who: [found[prompt] for prompt in known] for who, found in right.items()}


def _right(records: list[dict[str, Any]]) -> dict[str, float]:
    """Prompt -> the share of the answers to it that are right, of the prompts of which that is known."""
    verdicts: dict[str, list[bool]] = {}
    for record in records:
        if record["correct"] is not None:
            verdicts.setdefault(record["prompt_id"], []).append(record["correct"])
    return {prompt: sum(found) / len(found) for prompt, found in verdicts.items()}


def share(part: float, whole: int) -> float | None:
    """part / whole, rounded to four places; None where the whole is 0."""
    return round(part / whole, 4) if whole else None


def by_metadata(prompts: list[Prompt], exams: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Accuracy of each model by the type of answer, and by the values of every other metadata key that sorts the
    prompts into two to eight groups, over the prompts whose answers are known."""
    right = {who: _right(records) for who, records in exams.items()}
    known = {
        prompt["id"]: groups.of(prompt["metadata"])
        for prompt in prompts
        if all(prompt["id"] in found for found in right.values())
    }
    found = groups.Groups()
    for values in known.values():
        found.add(values.items())
    counted = {
        key: values for key, values in found.counts.items() if values and (len(values) > 1 or key == ANSWER_TYPE)
    }
    return {
        key: {
            value: _rates(right, [place for place in known if known[place].get(key) == value])
            for value in sorted(counted[key])
        }
        for key in sorted(counted, key=lambda key: (key != ANSWER_TYPE, key))
    }


def _rates(right: dict[str, dict[str, float]], prompts: list[str]) -> dict[str, Any]:
    """How many prompts there are, and the accuracy of each model on them."""
    count = len(prompts)
    return {"n": count, **{who: share(sum(found[prompt] for prompt in prompts), count) for who, found in right.items()}}


def shared_with_training(held_out: list[Prompt], rows: Iterable[Row]) -> dict[str, float | None]:
    """For each metadata key: of the held-out prompts that have it, the share with a value that a training row has too.

    A list counts as shared when any of its items is. `prompt` is the share of prompts whose messages, word for word, are
    the beginning of a row.
    """
    keys = sorted({key for prompt in held_out for key in prompt["metadata"] if groups.is_of_the_task(key)})
    lengths = {len(prompt["messages"]) for prompt in held_out}
    seen: dict[str, set[bytes]] = {key: set() for key in keys}
    begun: set[bytes] = set()
    for row in rows:
        for key in keys:
            seen[key] |= _values(row, key)
        begun |= {_words(row["messages"][:length]) for length in lengths}
    shares = {key: _share_seen([_values(prompt, key) for prompt in held_out], seen[key]) for key in keys}
    return shares | {"prompt": _share_seen([{_words(prompt["messages"])} for prompt in held_out], begun)}


def _words(messages: list[Message]) -> bytes:
    """The messages as bytes, without `weight`."""
    return orjson.dumps([{key: value for key, value in message.items() if key != "weight"} for message in messages])


def _share_seen(values: list[set[bytes]], seen: set[bytes]) -> float | None:
    # Prompts without the key have nothing new to offer, and would make known values look like half unknown ones.
    having = [value for value in values if value]
    return share(sum(bool(value & seen) for value in having), len(having))


def _values(prompt: Prompt, key: str) -> set[bytes]:
    value = prompt["metadata"].get(key)
    return {orjson.dumps(item) for item in (value if isinstance(value, list) else [] if value is None else [value])}


def _calls(record: dict[str, Any]) -> list[tuple[str, str]]:
    """The tool and the arguments of each call that the model made; those in the prompt are not its own."""
    return [
        (call["function"]["name"], _arguments(call["function"]["arguments"]))
        for place in spoken(record["messages"], record["turns"])
        for call in record["messages"][place].get("tool_calls", [])
    ]


def _arguments(text: str) -> str:
    """Arguments in a form in which equal ones are equal: 1 is 1.0, but in Python also True. Broken ones as they are."""
    try:
        return json.dumps(json.loads(text or "{}", parse_float=_number), sort_keys=True)
    except (ValueError, RecursionError):
        return text


def _number(text: str) -> float | int:
    value = float(text)
    return int(value) if value.is_integer() else value
