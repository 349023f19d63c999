"""Every tool call has exactly one result, right after it."""

from distill.dataset.checks.context import CheckContext
from distill.dataset.checks.fault import Fault, listed
from distill.records.types import Row

ADVICE = "tool calls and results do not belong together: rollouts from elsewhere may need their ids repaired"


def check(row: Row, context: CheckContext) -> Fault | None:
    """Finds calls without a result, results without a call, and ids that repeat within a turn."""
    faults: list[tuple[str, str]] = []
    waiting: dict[str, int] = {}
    for place, message in enumerate(row["messages"]):
        if message["role"] == "tool":
            if waiting.pop(message["tool_call_id"], None) is None:
                faults.append((f"/messages/{place}", f"answers no open call '{message['tool_call_id']}'"))
            continue
        if waiting:
            faults += _unanswered(waiting)
            waiting = {}
        if calls := message.get("tool_calls"):
            waiting = {call["id"]: place for call in calls}
            if len(waiting) < len(calls):
                faults.append((f"/messages/{place}/tool_calls", "an id occurs twice"))
    if waiting:
        faults += _unanswered(waiting)
    return listed(faults) if faults else None


def _unanswered(waiting: dict[str, int]) -> list[tuple[str, str]]:
    return [(f"/messages/{place}", f"call '{call}' has no result right after it") for call, place in waiting.items()]
