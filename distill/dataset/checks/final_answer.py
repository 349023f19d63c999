"""The conversation ends with an assistant's text, not with a tool call, a result, a refusal or silence."""

from distill.dataset.checks.context import CheckContext
from distill.dataset.checks.fault import Fault
from distill.records.types import Row

ADVICE = "the conversations end without an answer: say in the system message how to answer, or take a stronger model"


def check(row: Row, context: CheckContext) -> Fault | None:
    last = row["messages"][-1]
    if last["role"] != "assistant":
        detail = f"the last message is a {last['role']} message"
    elif last.get("tool_calls"):
        detail = "the last message calls a tool"
    elif last.get("refusal"):
        detail = "the last message is a refusal"
    elif (last.get("content") or "").strip():
        return None
    else:
        detail = "the last message is empty"
    return Fault(detail, (f"/messages/{len(row['messages']) - 1}",))
