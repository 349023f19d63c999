"""Selects the prompts that the teacher is asked: without replacement, always the same, more prompts including the fewer."""

import re

from distill.agent.samples import Pair, most
from distill.records.faults import Faults
from distill.records.types import Params, Prompt

RANGE = re.compile(r"^\s*(\d+)\s*(?:-\s*(\d+)\s*)?$")


def wanted(prompts: list[Prompt], params: Params) -> list[Pair]:
    """The (prompt, sample) pairs to roll out: `teacher.n` or `teacher.entries` of the training prompts with
    `teacher.samples` each, at most, and `evaluate.n` of the held-out ones once (the teacher's own exam).

    `n` takes the prompts with the smallest content ids: a random choice that depends on neither time nor file order.
    """
    teacher = params["teacher"]
    train = [prompt for prompt in prompts if prompt["split"] == "train"]
    if teacher["entries"] is None:
        train = first(train, teacher["n"])
    else:
        train = [train[place] for place in entries(str(teacher["entries"]), len(train))]
    samples = [(prompt, sample) for prompt in train for sample in range(most(teacher["samples"]))]
    return samples + [(prompt, 0) for prompt in held_out(prompts, params["evaluate"]["n"])]


def held_out(prompts: list[Prompt], n: int | None) -> list[Prompt]:
    """The prompts that base, student and teacher are compared on."""
    return first([prompt for prompt in prompts if prompt["split"] == "eval"], n)


def first(prompts: list[Prompt], n: int | None) -> list[Prompt]:
    """The `n` prompts with the smallest ids (None: all), by id."""
    return sorted(prompts, key=lambda prompt: prompt["id"])[:n]


def entries(text: str, count: int) -> list[int]:
    """The positions in `"0,1,5-9"`, each once. Raises InputError with every part that is invalid or out of range."""
    places: dict[int, None] = {}
    faults = Faults()
    for part in text.split(","):
        match = RANGE.match(part)
        if not match:
            faults.add(f"params.yaml: /teacher/entries: '{part.strip()}' is neither a number nor a range like 5-9")
            continue
        start, end = int(match[1]), int(match[2] or match[1])
        if end < start:
            faults.add(f"params.yaml: /teacher/entries: '{part.strip()}' runs backwards: write {end}-{start}")
        elif end >= count:
            faults.add(
                f"params.yaml: /teacher/entries: '{part.strip()}' is outside of 0-{count - 1}, "
                f"the positions of the {count} training prompts"
                if count
                else f"params.yaml: /teacher/entries: there are no training prompts, so no '{part.strip()}': set it to null"
            )
        places |= dict.fromkeys(range(start, min(end, count) + 1))
    faults.check()
    return list(places)
