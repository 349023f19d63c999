"""What `make plan` says of the judge: he is asked later than the teacher, and costs money, too."""

from collections.abc import Iterable

import orjson

from distill.answers import needs_judge
from distill.answers.judge import INSTRUCTIONS, asked_judge
from distill.records.counted import counted
from distill.records.types import Params, Prompt
from distill.teacher.endpoint_model import BYTES_PER_TOKEN
from distill.teacher.prices import FREE
from distill.teacher.provider import price_of, price_unknown

ANSWER_TOKENS, RULING_TOKENS = 200, 300
"""Guessed, of the answer that is judged, and of the ruling with the thoughts behind it."""
EXAMS = 3
"""Those of base, student and teacher, with the same held-out prompts."""


def judge_cost(chosen: Iterable[tuple[Prompt, int]], params: Params) -> str | None:
    """A line on how many answers the judge may be asked about after this run, and what that may cost; None where there is
    no judge, or nothing for him to compare. `chosen`: the wanted (prompt, sample) pairs."""
    if params["judge"]["model"] is None:
        return None
    asked = [
        prompt
        for prompt, _ in chosen
        if needs_judge(prompt["metadata"])
        for _ in range(EXAMS if prompt["split"] == "eval" else 1)
    ]
    if not asked:
        return None
    who = asked_judge(params)
    line = f"then the judge {who.model} is asked about up to {counted(len(asked), 'answer')} (filter, evaluate)"
    prices = price_of(who)
    if prices is None:
        return f"{line}; {price_unknown(who)}"
    if prices == FREE:
        return f"{line}, which costs only time"
    size = sum(len(INSTRUCTIONS) + len(orjson.dumps(prompt["messages"])) for prompt in asked)
    usage = {
        "input_tokens": size // BYTES_PER_TOKEN + ANSWER_TOKENS * len(asked),
        "cached_tokens": 0,
        "output_tokens": RULING_TOKENS * len(asked),
        "reasoning_tokens": 0,
    }
    return f"{line}: some {prices.cost(usage, params['runtime']['tier']):.2f} US dollars (a guess)"  # type: ignore[arg-type]
