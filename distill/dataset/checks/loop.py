"""The assistant does not go in circles: no call is made for the third time with the same result and nothing new since the
second.

New is a result that no such call has given before, and a message of the user's: who runs the tests after each edit is in no
circle. Nor is polling: a call that gives another result in the end was worth repeating. In mode `mask` the turns from the
third one on are not learned from.
"""

from collections import defaultdict

from distill.dataset.checks.context import CheckContext
from distill.dataset.checks.fault import Fault, listed
from distill.records.ids import canonical_text
from distill.records.types import Message, Row

ADVICE = "the teacher repeats its calls: say in the tools' results what to do next, or take a stronger model"
MOST = 2
"""Times that the same call may give the same result."""


def check(row: Row, context: CheckContext) -> Fault | None:
    if row["outcome"]["tool_calls"] <= MOST or not _repeats(row["messages"]):
        return None
    news = 0  # new results so far
    times: dict[tuple[str, str, str], tuple[int, int]] = {}  # since the user's last message, and `news` by then
    known: set[tuple[str, str, str]] = set()
    last_results: dict[tuple[str, str], str] = {}
    repeated: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    open_calls: dict[str, tuple[str, str, int]] = {}
    for place, message in enumerate(row["messages"]):
        if message["role"] == "user":
            times.clear()
        for call in message.get("tool_calls", ()):
            function = call["function"]
            open_calls[call["id"]] = (function["name"], canonical_text(function["arguments"]), place)
        if message["role"] == "tool" and message["tool_call_id"] in open_calls:
            name, arguments, turn = open_calls.pop(message["tool_call_id"])
            result = message["content"]
            seen = (name, arguments, result)
            news += seen not in known
            known.add(seen)
            count, news_then = times.get(seen, (0, news))
            count = count + 1 if news_then == news else 2
            times[seen] = count, news
            if last_results.get((name, arguments)) != result:
                last_results[name, arguments] = result
                repeated.pop((name, arguments), None)
            elif count > MOST:
                repeated[name, arguments].append((turn, count))
    faults = [
        (f"/messages/{turn}", f"calls {name} again (number {number}) with the same arguments and result")
        for (name, _), turns in repeated.items()
        for turn, number in turns
        if row["messages"][turn].get("weight") != 0
    ]
    return listed(faults) if faults else None


def _repeats(messages: list[Message]) -> bool:
    """Whether any tool is called more than MOST times: a cheap test that most rows fail."""
    names = [call["function"]["name"] for message in messages for call in message.get("tool_calls", ())]
    return len(names) - len(set(names)) >= MOST and any(names.count(name) > MOST for name in set(names))
