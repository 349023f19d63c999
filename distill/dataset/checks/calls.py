"""Every tool call is one that its tool can take: the tool is known and the arguments satisfy its schema."""

from distill.dataset.checks.context import CheckContext
from distill.dataset.checks.fault import Fault, listed
from distill.records.types import Row
from distill.tools import arguments

ADVICE = "the teacher calls tools wrongly: see the details, improve the tools' descriptions, or take a stronger model"


def check(row: Row, context: CheckContext) -> Fault | None:
    faults = []
    for place, message in enumerate(row["messages"]):
        calls = message.get("tool_calls", ()) if message.get("weight") != 0 else ()
        for number, call in enumerate(calls):
            _, fault = arguments.parse(call, row["tools"])
            if fault:
                faults.append((f"/messages/{place}/tool_calls/{number}", fault))
    return listed(faults) if faults else None
