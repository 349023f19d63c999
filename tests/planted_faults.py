"""Rows without a fault, and what makes each check of the filter find one."""

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from rollout_records import call, rollout

from distill.dataset.convert import row

LONG = "word " * 500
Row = dict[str, Any]


def good(count: int) -> list[Row]:
    return [row(rollout(units)) for units in range(2, count + 2)]


def words(row: Row) -> int | str:
    """Token counts for tests of the engine: one token a word; a call of the tool `unsayable` cannot be rendered."""
    text = json.dumps(row["messages"])
    return "/messages/2: no" if '"unsayable"' in text else len(text.split())


def edited(place: int, **changes: Any) -> Callable[[Row], None]:
    return lambda row: row["messages"][place].update(changes)


def outcome(**changes: Any) -> Callable[[Row], None]:
    return lambda row: row["outcome"].update(changes)


def calling(*calls: dict[str, Any]) -> Callable[[Row], None]:
    return edited(2, tool_calls=list(calls))


def without(place: int) -> Callable[[Row], None]:
    return lambda row: row["messages"].pop(place)


def answered_late(row: Row) -> None:
    row["messages"].insert(5, row["messages"].pop(3))


def weightless(row: Row) -> None:
    for place in (2, 4, 6):
        edited(place, weight=0)(row)


def silent(**turn: Any) -> Callable[[Row], None]:
    """Puts a turn of the assistant and an answer of the user's before the first call."""
    talk = [{"role": "assistant", **turn}, {"role": "user", "content": "Look it up, please."}]
    return lambda row: row["messages"].__setitem__(slice(2, 2), deepcopy(talk))


def broken_tool(row: Row) -> None:
    row["tools"][0]["function"]["parameters"] = {"type": "nonsense"}


PLANTED: list[tuple[set[str], Callable[[Row], None]]] = [
    ({"finished"}, outcome(status="failed", stop_reason="api_error")),
    ({"finished"}, outcome(stop_reason="truncated")),
    ({"final_answer"}, edited(6, content="  \n")),
    ({"final_answer"}, edited(6, content=None, refusal="I cannot help")),
    ({"final_answer"}, lambda row: row["messages"].append({"role": "user", "content": "and?"})),
    ({"final_answer"}, without(6)),
    ({"final_answer"}, weightless),
    ({"final_answer"}, silent(content=None, refusal="I cannot help")),
    ({"final_answer"}, silent(content=" ")),
    (set(), silent(content="", weight=0)),
    ({"final_answer", "paired"}, edited(6, tool_calls=[call("call_9", "lookup_item", '{"sku": "D1"}')])),
    ({"paired"}, without(3)),
    ({"paired"}, edited(3, tool_call_id="call_7")),
    ({"paired"}, answered_late),
    ({"paired"}, lambda row: row["messages"].insert(4, deepcopy(row["messages"][3]))),
    ({"paired"}, calling(*[call("call_1", "lookup_item", '{"sku": "D625"}')] * 2)),
    ({"calls"}, calling(call("call_1", "lookup_thing", '{"sku": "D625"}'))),
    ({"calls"}, calling(call("call_1", "lookup_item", '{"sku": 625}'))),
    ({"calls"}, calling(call("call_1", "lookup_item", '{"sku": "D625", "sort": "up"}'))),
    ({"calls"}, calling(call("call_1", "lookup_item", "{}"))),
    ({"calls"}, calling(call("call_1", "lookup_item", '{"sku": "D625"'))),
    ({"calls"}, calling(call("call_1", "lookup_item", '["D625"]'))),
    ({"calls"}, calling(call("call_1", "lookup_item", '{"sku": NaN}'))),
    ({"calls"}, lambda row: row.update(tools=[])),
    ({"calls"}, broken_tool),
    ({"answer"}, outcome(correct=False, answer="41")),
    ({"answer"}, outcome(correct=False, answer=None)),
    ({"answer"}, outcome(correct=None)),
    ({"length"}, edited(3, content=LONG)),
    ({"calls", "length"}, calling(call("call_1", "unsayable", "{}"))),
    (
        {"finished", "final_answer", "answer"},
        lambda row: (outcome(status="failed", stop_reason="max_turns", correct=False)(row), without(6)(row)),
    ),
]
