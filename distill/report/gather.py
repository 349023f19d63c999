"""Reads what a project has written so far. What is not there yet is None or empty, never an error."""

import csv
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from distill.dataset import rollouts as rollout_files
from distill.records import jsonl, params
from distill.records.faults import InputError
from distill.report.conversations import join
from distill.report.sample import ROOM, Sample
from distill.report.tally import Tally
from distill.student.training.validation import held_out_prompts

Record = dict[str, Any]


def gather(root: Path, room: int = ROOM) -> Record:
    """The project's records: {params, prompts, conversations, tally, filter, training, loss, ...}.

    `conversations` are those that the page holds, in at most `room` bytes: held-out ones before all others, and of these
    a sample; `tally` counts all. Raises InputError with the faults of a record that is there and not valid.
    """
    prompts = {one["id"]: {**one, "messages": []} for one in _read(root / "data/prompts.jsonl", "prepared_prompt")}
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
    tally, sample, rows = Tally(prompts), Sample(room), {}
    kept: set[str] = set()
    evaluated = list(_read(root / "reports/evaluation.jsonl", "evaluated"))
    beside: Counter[str] = Counter()
    for one in evaluated:
        beside[one["prompt_id"]] += len(jsonl.dumps(one))
    for rollout in rollout_files.read(root / "rollouts") if (root / "rollouts").exists() else ():
        tally.rollout(rollout)
        sample.offer(rollout["id"], rollout, rollout["split"] == "eval", beside[rollout["prompt_id"]])
    for row in chain(_read(root / "data/train.jsonl", "row"), _read(root / "data/rejected.jsonl", "rejected")):
        if "reasons" not in row:
            kept.add(row["prompt_id"])
        if row["rollout_id"] not in tally.rollouts:
            tally.row(row)
            sample.offer(row["rollout_id"], row)
        elif row["rollout_id"] in sample:
            rows[row["rollout_id"]] = row
    alone = {one["prompt_id"] for one in evaluated if one["who"] != "teacher"} - tally.prompts
    tally.total += len(alone)
    held = [one for _, one in sample]
    shown = alone | {one["prompt_id"] for one in held}
    return tally, join(
        prompts.values(),
        [one for name, one in sample if name in tally.rollouts],
        [rows.get(name, one) for name, one in sample if name in rows or name not in tally.rollouts],
        [one for one in evaluated if one["prompt_id"] in shown],
        held_out_prompts(kept),
    )


def _read(path: Path, schema: str) -> Iterator[Record]:
    return jsonl.read(path, schema) if path.exists() else iter(())


def _read_json(path: Path, schema: str) -> Record | None:
    return jsonl.read_json(path, schema) if path.exists() else None


def _params(path: Path) -> Record | None:
    """Without `runtime`: what changes no result has no place in a report that is a function of its inputs."""
    return {name: value for name, value in params.load(path).items() if name != "runtime"} if path.exists() else None


def _numbers(path: Path) -> dict[str, list[float | None]]:
    """The columns of a CSV file of numbers, by name; an empty cell is None."""
    if not path.exists():
        return {}
    with open(path, encoding="utf-8", newline="") as file:
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
