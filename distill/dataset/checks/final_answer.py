"""The conversation ends with an assistant's text, not with a tool call, a result, a refusal or silence; no turn before it is
silence that would be learned; and some turn of the assistant is learned from, since training refuses a row without one."""

from distill.dataset.checks.context import CheckContext
from distill.dataset.checks.fault import Fault
from distill.records.types import Message, Row

ADVICE = "the conversations end without an answer: say in the system message how to answer, or take a stronger model"


def check(row: Row, context: CheckContext) -> Fault | None:
    messages = row["messages"]
    last, place = messages[-1], len(messages) - 1
    learned = [
        number
        for number, message in enumerate(messages)
        if message["role"] == "assistant" and message.get("weight") != 0
    ]
    if last["role"] != "assistant":
        detail = f"the last message is a {last['role']} message"
    elif last.get("tool_calls"):
        detail = "the last message calls a tool"
    elif last.get("refusal"):
        detail = "the last message is a refusal"
    elif _is_silent(last):
        detail = "the last message is empty"
    elif not learned:
        detail = "nothing to learn from: all turns of the assistant have weight 0"
    elif silent := [number for number in learned if _is_silent(messages[number])]:
        detail, place = "the assistant answers with nothing (weight 0 keeps such a turn as context)", silent[0]
    else:
        return None
    return Fault(detail, (f"/messages/{place}",))


def _is_silent(message: Message) -> bool:
    return not message.get("tool_calls") and not (message.get("content") or "").strip()
