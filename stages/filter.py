"""Which rows the student learns from.

Reads data/converted.jsonl, and data/prompts.jsonl for what is held out. Writes data/train.jsonl, data/rejected.jsonl
(each with every reason), and reports/filter.json with its histograms in reports/lengths.csv and reports/turns.csv.
Refuses held-out rows; ends with an error when nothing is kept, and then writes no data/train.jsonl.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

from distill.dataset import filter, funnel, judge
from distill.dataset.verdict import masked
from distill.records import jsonl, stage
from distill.records.atomic import replacing
from distill.records.faults import InputError

CONVERTED = "data/converted.jsonl"
TRAIN = "data/train.jsonl"
REJECTED = "data/rejected.jsonl"
REPORT = "reports/filter.json"
LENGTHS, TURNS = "reports/lengths.csv", "reports/turns.csv"


def main(params: dict[str, Any]) -> None:
    modes, found = params["filter"], _rulings(params)

    def rows() -> Iterator[dict[str, Any]]:
        return judge.ruled(filter.read(CONVERTED), found)

    alone = list(filter.judge(rows(), modes, filter.context(params, rows)))
    if not alone:
        raise InputError(f"{CONVERTED}: holds no row; `dvc repro convert` writes it")
    verdicts = filter.settle(alone, rows, modes)
    report = funnel.report([facts for facts, _ in alone], verdicts, modes)
    judged = partial(zip, strict=True)
    rejected = jsonl.write(
        REJECTED,
        ({**row, "reasons": found.reasons} for row, found in judged(rows(), verdicts) if found.reasons),
        "rejected",
    )
    jsonl.write_json(REPORT, report, "filter_report")
    for path, counts, what in ((LENGTHS, "by_length", "tokens"), (TURNS, "by_turns", "turns")):
        with replacing(path) as file:
            file.write(funnel.csv(report[counts], what).encode())
    print(funnel.table(report))
    if not report["kept"]:
        raise InputError(funnel.nothing_kept(report))
    learned = (masked(row, found.turns) for row, found in judged(rows(), verdicts) if not found.reasons)
    kept = jsonl.write(TRAIN, learned, "row")
    if kept + rejected != len(verdicts):
        raise AssertionError(f"{len(verdicts)} rows came in, {kept} kept + {rejected} rejected went out")
    print(f"filter: kept {kept} of {len(verdicts)} rows -> {TRAIN}; rejected {rejected} -> {REJECTED}")


def _rulings(params: dict[str, Any]) -> dict[judge.Question, bool]:
    """What the judge says of the answers that only a judge can compare."""
    if params["filter"]["answer"] == "off" or params["judge"]["model"] is None:
        return {}
    return judge.rulings(map(judge.open_question_of, filter.read(CONVERTED)), params, "filter")


if __name__ == "__main__":
    stage.run(main)
