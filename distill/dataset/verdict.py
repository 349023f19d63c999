"""Verdicts on rows: kept, kept with turns that are not learned from, or rejected with every reason."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from distill.dataset.checks.fault import Fault
from distill.records.types import Row

_TURN = re.compile(r"/messages/(\d+)(?:/|$)")


class Verdict(NamedTuple):
    """The verdict on a row; an empty one keeps the row as it is."""

    reasons: Sequence[dict[str, Any]] = ()
    """`{check, detail, pointers}` of each check that rejects the row, in the order of the checks."""
    masks: Sequence[str] = ()
    """The checks that mask turns of a row that stays."""
    turns: Sequence[int] = ()
    """Places of the messages to mask."""


KEEP = Verdict()


def of(row: Row, faults: Sequence[tuple[str, Fault]], modes: Mapping[str, Any]) -> Verdict:
    """The verdict on a row of the (check, fault) pairs found in it.

    In mode `mask` a fault costs the assistant turns that it points at. It rejects the row as `reject` does where it
    points elsewhere, too, or at nothing; and where no turn would be left to learn from.
    """
    if not faults:
        return KEEP
    costs = [(check, fault, _turns(row, fault) if modes[check] == "mask" else set()) for check, fault in faults]
    masked = set().union(*(turns for _, _, turns in costs))
    nothing_left = all(
        place in masked or message.get("weight", 1) == 0
        for place, message in enumerate(row["messages"])
        if message["role"] == "assistant"
    )
    reasons = [_reason(check, fault) for check, fault, turns in costs if nothing_left or not turns]
    return Verdict(reasons) if reasons else Verdict((), [check for check, _, _ in costs], sorted(masked))


def rejected(check: str, fault: Fault) -> Verdict:
    """The verdict on a row that one check or contest rejects."""
    return Verdict([_reason(check, fault)])


def _reason(check: str, fault: Fault) -> dict[str, Any]:
    return {"check": check, "detail": fault.detail, "pointers": list(fault.pointers)}


def masked(row: Row, turns: Sequence[int]) -> Row:
    """The row with `weight: 0` on the messages at `turns`."""
    messages = list(row["messages"])
    for place in turns:
        messages[place] = messages[place] | {"weight": 0}
    return row | {"messages": messages}


def _turns(row: Row, fault: Fault) -> set[int]:
    """The assistant turns that all of the fault's pointers lie in; none where one lies elsewhere."""
    turns = set()
    for pointer in fault.pointers:
        match = _TURN.match(pointer)
        if not match or row["messages"][int(match[1])]["role"] != "assistant":
            return set()
        turns.add(int(match[1]))
    return turns
