"""data/seed/*.jsonl → data/prompts.jsonl: every row validated, identified and assigned to a split.

Refuses, with file and line of every fault: broken JSON, rows that are not prompts, the same prompt twice with
different answers or splits, answers that need a judge when there is none, and an empty seed folder.
"""

from collections import Counter

from distill.dataset.prompts import merged, prepare, read_seed, unused_answers
from distill.project import stage
from distill.project.terminal import say
from distill.records import jsonl
from distill.records.types import Params

MOST_SHOWN = 3
"""Places that a message names."""


def main(params: Params) -> None:
    stage.forget_metrics()
    rows = read_seed("data/seed")
    prompts = prepare(rows, params["prompts"]["eval_fraction"], has_judge=params["judge"]["model"] is not None)
    jsonl.write("data/prompts.jsonl", prompts, "prepared_prompt")
    splits = Counter(prompt["split"] for prompt in prompts)
    same, unused = merged(rows, prompts), unused_answers(rows)
    print(
        f"prompts: {len(prompts)} ({splits['train']} train, {splits['eval']} eval)"
        + (f"; {len(same)} rows left out, the same as an earlier one: {_some(same, ', ')}" if same else "")
    )
    if unused:
        say("\n".join(["warning: answers that may have the wrong name:", _some(unused, "\n")]))


def _some(texts: list[str], between: str) -> str:
    """The first of many texts, and how many more there are."""
    more = len(texts) - MOST_SHOWN
    return between.join([*texts[:MOST_SHOWN], *([f"and {more} more"] if more > 0 else [])])


if __name__ == "__main__":
    stage.no_options(__doc__)
    stage.run(main)
