"""The conversation ends with an assistant's text, not with a tool call, a result, a refusal or silence; no turn before it is
silence that would be learned; and some turn of the assistant is learned from, since training refuses a row without one."""

from distill.dataset.checks.context import CheckContext
from distill.dataset.checks.fault import Fault
from distill.records.types import Message, Row

ADVICE = "the conversations end without an answer: say in the system message how to answer, or take a stronger model"


def check(row: Row, context: CheckContext) -> Fault | None:
    messages = row["messages"]
    last, place = messages[-1], len(messages) - 1
    if last["role"] != "assistant":
        detail = f"the last message is a {last['role']} message"
    elif last.get("tool_calls"):
        detail = "the last message calls a tool"
    elif last.get("refusal"):
        detail = "the last message is a refusal"
    elif not _says_something(last):
        detail = "the last message is empty"
    elif all(message["role"] != "assistant" or message.get("weight") == 0 for message in messages):
        detail = "nothing to learn from: all turns of the assistant have weight 0"
    elif silent := [number for number, message in enumerate(messages) if _teaches_silence(message)]:
        detail, place = "the assistant answers with nothing (weight 0 keeps such a turn as context)", silent[0]
    else:
        return None
    return Fault(detail, (f"/messages/{place}",))


def _says_something(message: Message) -> bool:
    return bool((message.get("content") or "").strip())


def _teaches_silence(message: Message) -> bool:
    is_learned = message["role"] == "assistant" and message.get("weight") != 0
    return is_learned and not message.get("tool_calls") and not _says_something(message)
