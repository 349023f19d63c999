"""`make plan`, its last line: what the judge may cost, who is asked later than the teacher.

It is no part of `teacher_rollouts --plan`, so that this stage does not depend on how answers are compared.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

import orjson

from distill.agent.overrides import add_option, overridden
from distill.agent.selection import wanted
from distill.answers import needs_judge
from distill.answers.judge import INSTRUCTIONS, asked_judge
from distill.dataset import rollouts
from distill.project import stage
from distill.records import jsonl
from distill.records.counted import counted
from distill.records.types import Params, Prompt
from distill.teacher.answer import Usage
from distill.teacher.api.endpoint_model import BYTES_PER_TOKEN
from distill.teacher.api.provider import price_of, price_unknown
from distill.teacher.cost.prices import FREE

IMPORTED = Path("data/imported")
ANSWER_TOKENS, RULING_TOKENS = 200, 300
"""Guessed, of the answer that is judged, and of the ruling with the thoughts behind it."""
EXAMS = 3
"""Those of base, student and teacher, with the same held-out prompts."""


def judge_cost(chosen: Iterable[tuple[Prompt, int]], imported: Iterable[Prompt], params: Params) -> str | None:
    """A line on how many answers the judge is asked about at most, and what that may cost; None where there is no judge, or
    nothing to compare. `chosen`: the wanted (prompt, sample) pairs; `imported`: prompts or conversations from elsewhere."""
    if params["judge"]["model"] is None:
        return None
    prompts = [prompt for prompt, _ in chosen]
    trained = [prompt for prompt in prompts if prompt["split"] == "train"] + [*imported]
    filtered = trained if params["filter"]["answer"] != "off" else []
    asked = [prompt for prompt in filtered if needs_judge(prompt["metadata"])]
    asked += EXAMS * [prompt for prompt in prompts if prompt["split"] == "eval" and needs_judge(prompt["metadata"])]
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
    # Of one ruling: some prices depend on the length of a request.
    usage: Usage = {
        "input_tokens": size // BYTES_PER_TOKEN // len(asked) + ANSWER_TOKENS,
        "cached_tokens": 0,
        "output_tokens": RULING_TOKENS,
        "reasoning_tokens": 0,
    }
    cost = len(asked) * prices.cost(usage, params["runtime"]["tier"])
    return f"{line}: some {cost:.2f} US dollars (a guess)"


def main(params: Params) -> None:
    parser = argparse.ArgumentParser(prog="python -m distill.commands.judge_cost", description=__doc__)
    add_option(parser)
    params = overridden(params, parser.parse_args().set)
    chosen = wanted(list(jsonl.read("data/prompts.jsonl", "prepared_prompt")), params)
    line = judge_cost(chosen, rollouts.read(IMPORTED) if IMPORTED.is_dir() else [], params)
    if line:
        print(line)


if __name__ == "__main__":
    stage.run(main)
