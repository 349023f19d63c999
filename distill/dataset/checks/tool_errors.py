"""No more than `filter.max_tool_errors` tool calls of the row failed: a few teach recovery, many teach fumbling.

In mode `mask` the turns whose calls all failed are not learned from.
"""

from distill.dataset.checks.context import CheckContext
from distill.dataset.checks.fault import Fault
from distill.records.tool_error import TOOL_ERROR
from distill.records.types import Row

ADVICE = "the tools fail often: read the results in rollouts/, repair the tools, or raise filter.max_tool_errors"


def check(row: Row, context: CheckContext) -> Fault | None:
    count = row["outcome"]["tool_errors"]
    if count <= context.max_tool_errors:
        return None
    return Fault(f"{count} tool calls failed, filter.max_tool_errors is {context.max_tool_errors}", _turns(row))


def _turns(row: Row) -> tuple[str, ...]:
    """The turns all of whose calls failed."""
    any_succeeded: dict[int, bool] = {}
    turn = 0
    for place, message in enumerate(row["messages"]):
        if message["role"] == "assistant":
            turn = place
        elif message["role"] == "tool":
            any_succeeded[turn] = any_succeeded.get(turn, False) or not message["content"].startswith(TOOL_ERROR)
    return tuple(f"/messages/{place}" for place, succeeded in any_succeeded.items() if not succeeded)
