"""How many rollouts a training prompt gets: always so many, or one behind the other until one is good enough."""

from itertools import groupby

from distill.agent.rollout import stop_reason
from distill.answers import grade
from distill.records.types import Prompt
from distill.teacher.answer import Answer

Pair = tuple[Prompt, int]


def most(samples: int | str) -> int:
    """The rollouts of a prompt, at most: 4 is always four, and "1-4" is one, and up to four while none is good enough."""
    return int(str(samples).removeprefix("1-"))


def in_turn(chosen: list[Pair], samples: int | str) -> list[list[Pair]]:
    """The (prompt, sample) pairs in the lists in which they are made one behind the other: all of a prompt where its answers
    decide how many there are, else each alone. The pairs of a prompt stand together, by sample."""
    if isinstance(samples, int):
        return [[pair] for pair in chosen]
    return [list(pairs) for _, pairs in groupby(chosen, key=lambda pair: pair[0]["id"])]


def is_enough(prompt: Prompt, last: Answer | None) -> bool:
    """Whether a rollout with this last answer saves the prompt another one: it came to an end, and is not known to be wrong.
    Without an expected answer, or with one that only a judge can compare, nothing is known.

    A refusal saves it, too: the next one would only refuse again. So does an error (`last` is None): either others would
    meet it as well, or it passes, and the next run makes this one rollout.
    """
    if last is None:
        return True
    stop = stop_reason(last)
    if stop == "final_answer":
        return grade([last["message"]], prompt["metadata"]).correct is not False
    return stop == "refused"
