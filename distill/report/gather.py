"""Reads the records that a project has written so far. A missing file gives None or nothing, never an error."""

import csv
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from distill.dataset import rollouts as rollout_files
from distill.project import params
from distill.records import jsonl
from distill.records.faults import InputError
from distill.report.conversations import join
from distill.report.sample import ROOM, Sample
from distill.report.tally import Tally
from distill.student.training.validation import held_out_prompts

Record = dict[str, Any]


def gather(root: Path, room: int = ROOM) -> Record:
    """The project's records: {params, prompts, conversations, tally, filter, training, loss, ...}.

    `conversations` are those in the page, `room` bytes at most: held-out ones before all others, and of the others a
    sample; `tally` counts all. Raises InputError with the faults of a record that is there and not valid.
    """
    prepared = _read(root / "data/prompts.jsonl", "prepared_prompt")
    prompts = {prompt["id"]: {**prompt, "messages": []} for prompt in prepared}
    training = _read_json(root / "reports/training.json", "training")
    tally, conversations = _conversations(root, prompts, room)
    if training:
        tally.made_with(training["versions"])
    return {
        "params": _params(root / "params.yaml"),
        "prompts": Counter(prompt["split"] for prompt in prompts.values()),
        "conversations": conversations,
        "tally": tally,
        "rollouts": _read_json(root / "reports/rollouts.json", "rollouts_report"),
        "filter": _read_json(root / "reports/filter.json", "filter_report"),
        "training": training,
        "loss": _numbers(root / "reports/loss.csv"),
        "evaluation": _read_json(root / "reports/evaluation.json", "evaluation"),
    }


def _conversations(root: Path, prompts: dict[str, Record], room: int) -> tuple[Tally, list[Record]]:
    """The tally of all conversations, and those of them in the page, at most `room` bytes.

    A rollout, or a row whose rollout is not at hand, is offered to the sample; the row of a rollout comes along with it.
    """
    tally, sample = Tally(prompts), Sample(room)
    evaluated = list(_read(root / "reports/evaluation.jsonl", "evaluated"))
    evaluated_bytes: Counter[str] = Counter()
    for record in evaluated:
        evaluated_bytes[record["prompt_id"]] += len(orjson.dumps(record))
    for rollout in rollout_files.read(root / "rollouts") if (root / "rollouts").exists() else ():
        tally.rollout(rollout)
        sample.offer(rollout["id"], rollout, rollout["split"] == "eval", evaluated_bytes[rollout["prompt_id"]])
    rows_of_rollouts: dict[str, Record] = {}
    kept_prompts: set[str] = set()
    for row in chain(_read(root / "data/train.jsonl", "row"), _read(root / "data/rejected.jsonl", "rejected")):
        if "reasons" not in row:
            kept_prompts.add(row["prompt_id"])
            tally.kept += row["rollout_id"] in tally.rollouts
        if row["rollout_id"] not in tally.rollouts:
            tally.row(row)
            sample.offer(row["rollout_id"], row)
        elif row["rollout_id"] in sample:
            rows_of_rollouts[row["rollout_id"]] = row
    without_teacher = {record["prompt_id"] for record in evaluated if record["who"] != "teacher"} - tally.prompts
    tally.total += len(without_teacher)
    drawn = dict(sample)
    shown_prompts = without_teacher | {record["prompt_id"] for record in drawn.values()}
    return tally, join(
        prompts=prompts.values(),
        rollouts=[record for name, record in drawn.items() if name in tally.rollouts],
        rows=[
            *(row for name, row in rows_of_rollouts.items() if name in drawn),
            *(record for name, record in drawn.items() if name not in tally.rollouts),
        ],
        evaluated=[record for record in evaluated if record["prompt_id"] in shown_prompts],
        validation=held_out_prompts(kept_prompts),
    )


def _read(path: Path, schema: str) -> Iterator[Record]:
    return jsonl.read(path, schema) if path.exists() else iter(())


def _read_json(path: Path, schema: str) -> Record | None:
    return jsonl.read_json(path, schema) if path.exists() else None


def _params(path: Path) -> Record | None:
    """The parameters without `runtime`, which changes no result, so that the report is a function of the results."""
    return {name: value for name, value in params.load(path).items() if name != "runtime"} if path.exists() else None


def _numbers(path: Path) -> dict[str, list[float | None]]:
    """The columns of a CSV file of numbers, by name; an empty cell is None."""
    if not path.exists():
        return {}
    # errors="replace": a cell that is no number is a fault below.
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        rows = csv.DictReader(file)
        columns: dict[str, list[float | None]] = {name: [] for name in rows.fieldnames or []}
        for row in rows:
            for name, cells in columns.items():
                cells.append(_number(row[name], f"{path}:{rows.line_num}: /{name}"))
    return columns


def _number(cell: str | None, where: str) -> float | None:
    if not cell:
        return None
    try:
        return float(cell)
    except ValueError:
        raise InputError(f"{where}: {cell!r} is not a number") from None
