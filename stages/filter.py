"""Filters the rows that the student learns from.

Reads data/converted.jsonl, and data/prompts.jsonl for the held-out prompts. Writes data/train.jsonl, data/rejected.jsonl
(each with every reason), and reports/filter.json with its histograms in reports/lengths.csv and reports/turns.csv.
Refuses held-out rows; ends with an error when nothing is kept, and then writes no data/train.jsonl.
"""

from itertools import chain, tee

from distill.answers import judge
from distill.dataset import filter, funnel, kept_and_rejected, row_groups, shard_rows
from distill.machine import pool
from distill.machine.cores import cores
from distill.project import stage
from distill.project.terminal import say
from distill.records import jsonl, shards
from distill.records.atomic import replacing
from distill.records.faults import InputError
from distill.records.types import Params

CONVERTED = "data/converted.jsonl"
TRAIN = "data/train.jsonl"
REJECTED = "data/rejected.jsonl"
REPORT = "reports/filter.json"
LENGTHS, TURNS = "reports/lengths.csv", "reports/turns.csv"


def main(params: Params) -> None:
    stage.forget_metrics()
    modes, rulings = params["filter"], _rulings(params)
    workers = params["runtime"]["workers"] or cores()
    parts = list(shards.split(CONVERTED))
    checked, groups = shard_rows.collected(pool.run(shard_rows.prepare, (params, rulings), parts, workers))
    if not checked:
        raise InputError(f"{CONVERTED}: holds no row; `dvc repro convert` writes it")
    verdicts = filter.settle(checked, lambda: shard_rows.again(parts, rulings), modes)
    lost = kept_and_rejected.write(parts, verdicts, rulings, TRAIN, REJECTED)
    report = funnel.report([facts for facts, _ in checked], verdicts, modes) | groups.report(lost)
    report["judge_cost_usd"] = judge.cost_usd(rulings)
    jsonl.write_json(REPORT, report, "filter_report")
    for path, histogram, unit in ((LENGTHS, "by_length", "tokens"), (TURNS, "by_turns", "turns")):
        with replacing(path) as file:
            file.write(funnel.csv(report[histogram], unit).encode())
    print("\n".join([funnel.table(report), *judge.cost_line(report["judge_cost_usd"])]))
    for group in row_groups.lost(report):
        say(f"  lost: {group}")
    if not report["kept"]:
        raise InputError(funnel.nothing_kept(report))
    print(
        f"filter: kept {report['kept']} of {report['rows']} rows -> {TRAIN}; rejected {report['rejected']} -> {REJECTED}"
    )


def _rulings(params: Params) -> judge.Rulings:
    """The judge's rulings on the answers that only a judge can compare, in rows that the checks before it keep."""
    if params["filter"]["answer"] == "off" or params["judge"]["model"] is None:
        return {}
    others = params["filter"] | {"answer": "off", "own": "off"}  # a check of the user's own may go by the ruling
    rows = (row for row in jsonl.read(CONVERTED, "row") if judge.open_question_of(row))
    if (first := next(rows, None)) is None:
        return {}
    context = filter.context(params | {"filter": others})
    asked, checked = tee(chain([first], rows))
    verdicts = filter.run_checks(checked, others, context)
    kept = (row for row, (_, verdict) in zip(asked, verdicts, strict=True) if not verdict.reasons)
    rulings = judge.rulings(map(judge.open_question_of, kept), params, "filter")
    if context.counts:
        context.counts.flush()
    return rulings


if __name__ == "__main__":
    stage.no_options(__doc__)
    stage.run(main)
