"""The rollout is finished: not failed, not cut off, not out of turns."""

from distill.dataset.checks.context import CheckContext
from distill.dataset.checks.fault import Fault
from distill.records.types import Row

ADVICE = "the teacher does not come to an end: raise agent.max_turns or teacher.max_output_tokens, or see rollouts/"


def check(row: Row, context: CheckContext) -> Fault | None:
    outcome = row["outcome"]
    if outcome["status"] == "completed" and outcome["stop_reason"] == "final_answer":
        return None
    return Fault(f"{outcome['status']}, stopped by {outcome['stop_reason']}", ("/outcome/stop_reason",))
