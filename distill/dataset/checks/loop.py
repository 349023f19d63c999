"""The assistant does not go in circles: no call is made for the third time when it has given the same result before.

Polling is no loop, since the result changes. In mode `mask` the turns from the third one on are not learned from.
"""

from collections import defaultdict

from distill.dataset.checks.context import CheckContext
from distill.dataset.checks.fault import Fault, listed
from distill.records.ids import canonical_text
from distill.records.types import Message, Row

ADVICE = "the teacher repeats its calls: say in the tools' results what to do next, or take a stronger model"
MASKS = True
MOST = 2
"""Times that the same call may give the same result."""


def check(row: Row, context: CheckContext) -> Fault | None:
    if row["outcome"]["tool_calls"] <= MOST or not _repeats(row["messages"]):
        return None
    seen: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    open_calls: dict[str, tuple[str, str, int]] = {}
    for place, message in enumerate(row["messages"]):
        for call in message.get("tool_calls", ()):
            function = call["function"]
            open_calls[call["id"]] = (function["name"], canonical_text(function["arguments"]), place)
        if message["role"] == "tool" and message["tool_call_id"] in open_calls:
            name, arguments, turn = open_calls.pop(message["tool_call_id"])
            seen[name, arguments, message["content"]].append(turn)
    faults = [
        (f"/messages/{place}", f"calls {name} again (number {number}) with the same arguments and result")
        for (name, _, _), places in seen.items()
        for number, place in enumerate(places, start=1)
        if number > MOST and row["messages"][place].get("weight") != 0
    ]
    return listed(faults) if faults else None


def _repeats(messages: list[Message]) -> bool:
    """Whether any tool is called more than MOST times: a cheap test that most rows fail."""
    names = [call["function"]["name"] for message in messages for call in message.get("tool_calls", ())]
    return len(names) - len(set(names)) >= MOST and any(names.count(name) > MOST for name in set(names))
