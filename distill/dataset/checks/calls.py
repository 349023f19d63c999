"""Every tool call is one that its tool can take: the tool is known and the arguments satisfy its schema."""

from typing import Any

from distill.dataset.checks.context import Context
from distill.dataset.checks.fault import Fault, listed
from distill.tools import arguments

ADVICE = "the teacher calls tools wrongly: see the details, improve the tools' descriptions, or take a stronger model"
MASKS = True


def check(row: dict[str, Any], context: Context) -> Fault | None:
    faults = []
    for place, message in enumerate(row["messages"]):
        for number, call in enumerate(message.get("tool_calls", ())):
            try:
                _, fault = arguments.parse(call, row["tools"])
            except ValueError as error:  # rows from elsewhere may bring tools that no server would have taken
                fault = f"the schema of '{call['function']['name']}' is no JSON Schema: {str(error).splitlines()[0]}"
            if fault:
                faults.append((f"/messages/{place}/tool_calls/{number}", fault))
    return listed(faults) if faults else None
