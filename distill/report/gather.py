"""Reads what a project has written so far. What is not there yet is None or empty, never an error."""

import csv
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from distill.dataset import rollouts as rollout_files
from distill.records import jsonl, params
from distill.records.faults import InputError
from distill.report.conversations import join

Record = dict[str, Any]


def gather(root: Path) -> Record:
    """The project's records: {params, prompts, conversations, rollouts, filter, training, loss, ...}.

    Raises InputError with the faults of a record that is there and not valid.
    """
    prompts = _rows(root / "data/prompts.jsonl", lambda path: jsonl.read(path, "prepared_prompt"))
    kept = _rows(root / "data/train.jsonl", lambda path: jsonl.read(path, "row"))
    rejected = _rows(root / "data/rejected.jsonl", lambda path: jsonl.read(path, "rejected"))
    evaluated = _rows(root / "reports/evaluation.jsonl", lambda path: jsonl.read(path, "evaluated"))
    rollouts = _rows(root / "rollouts", rollout_files.read)
    training = _record(root / "reports/training.json", lambda path: jsonl.read_json(path, "training"))
    return {
        "params": _params(root / "params.yaml"),
        "prompts": {split: sum(prompt["split"] == split for prompt in prompts) for split in ("train", "eval")},
        "conversations": join(prompts, rollouts, kept, rejected, evaluated),
        "rollouts": _record(root / "reports/rollouts.json", lambda path: jsonl.read_json(path, "rollouts_report")),
        "failures": _failures(rollouts),
        "filter": _record(root / "reports/filter.json", lambda path: jsonl.read_json(path, "filter_report")),
        "training": training,
        "loss": _numbers(root / "reports/loss.csv"),
        "evaluation": _record(root / "reports/evaluation.json", lambda path: jsonl.read_json(path, "evaluation")),
        "versions": _versions([*rollouts, *([training] if training else [])]),
        "collected": sorted({rollout["created_at"][:10] for rollout in rollouts}),
    }


def _rows(path: Path, read: Callable[[Path], Iterable[Record]]) -> list[Record]:
    return list(read(path)) if path.exists() else []


def _record(path: Path, read: Callable[[Path], Record]) -> Record | None:
    return read(path) if path.exists() else None


def _params(path: Path) -> Record | None:
    """Without `runtime`: what changes no result has no place in a report that is a function of its inputs."""
    found = _record(path, params.load)
    return {name: value for name, value in found.items() if name != "runtime"} if found else None


def _failures(rollouts: list[Record]) -> dict[str, int]:
    """How many rollouts failed by kind: that of the error, or what stopped a conversation without one."""
    failed = [rollout for rollout in rollouts if rollout["status"] == "failed"]
    kinds = (rollout["error"]["kind"] if rollout["error"] else rollout["stop_reason"] for rollout in failed)
    return dict(Counter(kinds).most_common())


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


def _versions(records: Iterable[Record]) -> dict[str, str]:
    """What the records were made with; several versions of one thing stand side by side."""
    found: dict[str, set[str]] = {}
    for record in records:
        for name, version in record["versions"].items():
            found.setdefault(name, set()).add(version)
    return {name: ", ".join(sorted(found[name])) for name in sorted(found)}
