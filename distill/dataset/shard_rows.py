"""The filter's work on the rows of one shard, independent of all other shards: `prepare(params, rulings)(shard)`.

A pure function of the shard's bytes and of what it is prepared with, all of which can be pickled. `pool.run` calls it in
this process or in several; a job of a Slurm array, or a task of Ray, can call it on a machine that has the project:

    check = prepare(params, {})
    for shard in itertools.islice(shards.split("data/converted.jsonl"), job, None, jobs):
        result = check(shard)
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import orjson

from distill.answers import judge
from distill.answers.judge import Rulings
from distill.dataset import filter
from distill.dataset.facts import Facts
from distill.dataset.row_groups import RowGroups
from distill.dataset.verdict import KEEP, Row, Verdict
from distill.records import jsonl, shards
from distill.records.faults import InputError
from distill.records.shards import Shard
from distill.records.types import Params


class Checked(NamedTuple):
    """The rows of a shard with the verdicts of all checks."""

    rows: list[tuple[tuple[Any, ...], Verdict | None]]
    """The facts of each row and the verdict of the checks; None for KEEP."""
    groups: RowGroups
    faults: list[str]
    """Why rows cannot be read, as `file:line: /pointer: message`."""


def prepare(params: Params, rulings: Rulings) -> Callable[[Shard], Checked]:
    """Makes the function that checks the rows of a shard. Raises InputError where what the checks need cannot be loaded."""
    modes, context = params["filter"], filter.context(params)

    def checked(shard: Shard) -> Checked:
        faults: list[str] = []
        groups = RowGroups()
        valid = (judge.ruled(row, rulings) for row in _valid(shard, faults, groups))
        verdicts = filter.run_checks(valid, modes, context)
        rows = [(tuple(facts), None if verdict is KEEP else verdict) for facts, verdict in verdicts]
        if context.counts:
            context.counts.flush()
        return Checked(rows, groups, faults)

    return checked


def collected(shards: Iterable[Checked]) -> tuple[list[tuple[Facts, Verdict]], RowGroups]:
    """The facts and verdicts of the rows of all shards, and their groups. Raises InputError with the faults of all, up
    to a hundred."""
    rows: list[tuple[Facts, Verdict]] = []
    groups = RowGroups()
    faults: list[str] = []
    for checked in shards:
        groups.merge(checked.groups)
        faults += checked.faults
        if len(faults) > jsonl.MOST_FAULTS:
            raise InputError([*faults[: jsonl.MOST_FAULTS], jsonl.more_faults("data/converted.jsonl")])
        if not faults:
            rows += [(Facts.compact(facts), verdict or KEEP) for facts, verdict in checked.rows]
    if faults:
        raise InputError(faults)
    return rows, groups


def again(source: Iterable[Shard], rulings: Rulings) -> Iterator[Row]:
    """All rows once more, not validated again."""
    return (judge.ruled(orjson.loads(text), rulings) for shard in source for _, text in shards.texts(shard))


def _valid(shard: Shard, faults: list[str], groups: RowGroups) -> Iterator[Row]:
    """The valid rows of a shard, counted in `groups`; the faults of the others are added to `faults`."""
    found: list[tuple[int, str]] = []
    for place, text in shards.texts(shard):
        row, row_faults = jsonl.parse(text, "row")
        if not row_faults and row["split"] != "train":
            row_faults = [f"/split: '{row['split']}' rows are held out and never trained on"]
        if row_faults:
            found += [(place, fault) for fault in row_faults]
        else:
            groups.add(row)
            yield row
    faults += shards.located(shard, found)
