"""data/seed/*.jsonl → data/prompts.jsonl: every row validated, identified and assigned to a split.

Refuses, with file and line of every fault: broken JSON, rows that are not prompts, the same prompt twice with
different answers or splits, answers that need a judge when there is none, and an empty seed folder.
"""

from collections import Counter
from typing import Any

from distill.dataset.prompts import prepare, read_seed
from distill.records import jsonl, stage


def main(params: dict[str, Any]) -> None:
    rows = read_seed("data/seed")
    prompts = prepare(rows, params["prompts"]["eval_fraction"], has_judge=params["judge"]["model"] is not None)
    jsonl.write("data/prompts.jsonl", prompts, "prepared_prompt")
    splits = Counter(prompt["split"] for prompt in prompts)
    merged = len(rows) - len(prompts)
    print(f"prompts: {len(prompts)} ({splits['train']} train, {splits['eval']} eval), {merged} duplicates merged")


if __name__ == "__main__":
    stage.run(main)
