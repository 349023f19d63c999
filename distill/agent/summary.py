"""Summarises a run of rollouts in numbers."""

import math
from collections import Counter
from typing import Any

from distill.agent import tool_times
from distill.records.types import Rollout
from distill.teacher.answer import total
from distill.teacher.errors import KINDS, is_final


class Summary:
    """Counts rollout records, in any order; `report` is reports/rollouts.json (schemas/rollouts_report.schema.json)."""

    def __init__(self, model: str):
        self._model = model
        self._turns = 0
        self._tools = tool_times.ToolTimes()
        self._stops: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._usage = total([])
        self._costs: list[float | None] = []

    def add(self, rollout: Rollout) -> None:
        """Counts one rollout."""
        self._stops[rollout["stop_reason"]] += 1
        if rollout["error"]:
            self._errors[rollout["error"]["kind"]] += 1
        self._turns += len(rollout["calls"])
        self._tools.add(rollout)
        self._usage = total([self._usage, rollout["usage"]])
        self._costs.append(rollout["cost_usd"])

    def report(self) -> dict[str, Any]:
        """The numbers; `cost_usd` is null if the price of one answer is unknown."""
        wanted, completed = self._stops.total(), self._stops["final_answer"]
        return {
            "model": self._model,
            "wanted": wanted,
            "completed": completed,
            "failed": wanted - completed,
            "stop_reasons": dict(sorted((reason, count) for reason, count in self._stops.items() if count)),
            "errors": dict(sorted(self._errors.items())),
            "turns_mean": round(self._turns / max(wanted, 1), 2),
            "tool_calls": self._tools.calls,
            "tool_errors": self._tools.errors,
            "tools": self._tools.report(),
            "usage": self._usage,
            # fsum is exact, so the order in which rollouts end does not matter
            "cost_usd": None if None in self._costs else math.fsum(cost for cost in self._costs if cost is not None),
        }


RETRY_COMMAND = "dvc repro -f -s teacher_rollouts"
STOP_ADVICE = {
    "max_turns": "see in rollouts/ what keeps the teacher from an answer: raise agent.max_turns, or show a small teacher "
    "how it is done (teacher.demonstrations)",
    "truncated": "raise teacher.max_output_tokens",
    "refused": "the teacher declines: change or remove these prompts",
}


def table(report: dict[str, Any]) -> str:
    """A report as lines for a person: how the rollouts ended, and what to do about each kind of failure."""
    cost = "at an unknown price" if report["cost_usd"] is None else f"${report['cost_usd']:.4f}"
    tokens = report["usage"]
    lines = [
        f"{report['completed']} of {report['wanted']} rollouts completed, {report['turns_mean']} turns on average, "
        f"{report['tool_calls']} tool calls ({report['tool_errors']} failed), "
        f"{tokens['input_tokens']:,} tokens in ({tokens['cached_tokens']:,} cached), "
        f"{tokens['output_tokens']:,} out ({tokens['reasoning_tokens']:,} reasoning), {cost}"
    ]
    failures = {kind: (count, KINDS[kind].advice) for kind, count in report["errors"].items() if kind in KINDS}
    failures |= {
        reason: (report["stop_reasons"][reason], advice)
        for reason, advice in STOP_ADVICE.items()
        if reason in report["stop_reasons"]
    }
    if failures:
        wide = max(len(kind) for kind in failures)
        lines += [
            f"  {count:>6}  {kind:<{wide}}  {advice}"
            for kind, (count, advice) in sorted(failures.items(), key=lambda failure: (-failure[1][0], failure[0]))
        ]
    again = sum(count for kind, count in report["errors"].items() if kind in KINDS and not is_final(kind))
    if again:
        lines.append(
            f"{again} of these may pass; to DVC the stage is done, so type: {RETRY_COMMAND} (asks nothing but them)"
        )
    return "\n".join(lines + tool_times.lines(report["tools"]))
