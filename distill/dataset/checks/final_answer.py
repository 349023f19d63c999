"""The conversation ends with an assistant's text, not with a tool call, a result, a refusal or silence; and some turn of
the assistant is learned from, since training refuses a row without one."""

from distill.dataset.checks.context import CheckContext
from distill.dataset.checks.fault import Fault
from distill.records.types import Row

ADVICE = "the conversations end without an answer: say in the system message how to answer, or take a stronger model"


def check(row: Row, context: CheckContext) -> Fault | None:
    messages = row["messages"]
    last = messages[-1]
    if last["role"] != "assistant":
        detail = f"the last message is a {last['role']} message"
    elif last.get("tool_calls"):
        detail = "the last message calls a tool"
    elif last.get("refusal"):
        detail = "the last message is a refusal"
    elif not (last.get("content") or "").strip():
        detail = "the last message is empty"
    elif all(message["role"] != "assistant" or message.get("weight") == 0 for message in messages):
        detail = "nothing to learn from: all turns of the assistant have weight 0"
    else:
        return None
    return Fault(detail, (f"/messages/{len(messages) - 1}",))
