"""Counts the calls of each tool in a run: how many, how many failed, and how long they took."""

from array import array
from collections.abc import Iterator
from itertools import zip_longest
from math import ceil
from typing import Any

from distill.records.spoken import spoken
from distill.records.tool_error import TOO_LATE, TOOL_ERROR
from distill.records.types import Rollout

MANY_LATE = 0.2
"""The part of a tool's calls from which those that hit their time limit are worth a warning."""
MOST_SHOWN = 20


class ToolTimes:
    """Counts the tool calls of rollout records, in any order. `calls`, `errors`: of all, those of tools that were not
    offered included."""

    def __init__(self) -> None:
        self.calls = self.errors = 0
        self._tools: dict[str, list[int]] = {}
        self._ms: dict[str, array[float]] = {}

    def add(self, rollout: Rollout) -> None:
        """Counts one rollout: the tools that it was offered, and its calls."""
        offered = {tool["function"]["name"] for tool in rollout["tools"]}
        for name in offered:
            self._tools.setdefault(name, [0, 0, 0])
        for name, result, ms in tool_calls(rollout):
            failed = (result or "").startswith(TOOL_ERROR)
            self.calls, self.errors = self.calls + 1, self.errors + failed
            if name in offered:  # here: what others are offered depends on the order of the rollouts
                self._tools[name][0] += 1
                self._tools[name][1] += failed
                self._tools[name][2] += (result or "").startswith(TOO_LATE)
                if ms is not None:
                    self._ms.setdefault(name, array("d")).append(ms)

    def report(self) -> dict[str, dict[str, Any]]:
        """By name, in alphabetical order: {calls, errors, late, p50_ms, p95_ms}. A call is an error if the model read one,
        and late if it was given up at its time limit; times are of the calls that ran, as they were recorded; null if none
        did."""
        return {
            name: {
                "calls": calls,
                "errors": errors,
                "late": late,
                "p50_ms": self._percentile(name, 50),
                "p95_ms": self._percentile(name, 95),
            }
            for name, (calls, errors, late) in sorted(self._tools.items())
        }

    def _percentile(self, name: str, percent: int) -> float | None:
        """The smallest time that is not below `percent` of all."""
        times = sorted(self._ms.get(name, ()))
        return times[ceil(len(times) * percent / 100) - 1] if times else None


def tool_calls(rollout: Rollout) -> Iterator[tuple[str, str | None, float | None]]:
    """(name, result, ms) of each tool call of the teacher; calls in the prompt are not the teacher's."""
    messages, turns = rollout["messages"], rollout["calls"]
    for turn, place in zip(turns, spoken(messages, len(turns)), strict=True):
        calls = messages[place].get("tool_calls", [])
        results = [message.get("content") for message in messages[place + 1 : place + 1 + len(calls)]]
        for call, result, ms in zip_longest(calls, results, turn.get("tool_ms", [])):
            yield call["function"]["name"], result, ms


def lines(report: dict[str, dict[str, Any]]) -> list[str]:
    """The tools that were called, as lines for a person, of many those that failed or were called most, and a warning for
    each that was often too slow."""
    called = {name: tool for name, tool in report.items() if tool["calls"]}
    if not called:
        return []
    first = sorted(called, key=lambda name: (-called[name]["errors"], -called[name]["calls"], name))[:MOST_SHOWN]
    shown = {name: tool for name, tool in called.items() if name in first}
    wide = max(4, *(len(name) for name in shown))
    rows = [f"  {'tool':<{wide}}  {'calls':>7}  {'failed':>7}  {'p50 ms':>8}  {'p95 ms':>8}"]
    rows += [
        f"  {name:<{wide}}  {tool['calls']:>7,}  {tool['errors']:>7,}  {_ms(tool['p50_ms']):>8}  {_ms(tool['p95_ms']):>8}"
        for name, tool in shown.items()
    ]
    if more := len(called) - len(shown):
        rows.append(f"  and {more:,} more tools, see reports/rollouts.json")
    return rows + [
        f"warning: {tool['late']:,} of {tool['calls']:,} calls of {name} hit their time limit, and the model was told so: "
        "raise agent.tool_timeout_s, or its own @tool(timeout=…), and run again"
        for name, tool in called.items()
        if tool["late"] > MANY_LATE * tool["calls"]
    ]


def _ms(time: float | None) -> str:
    return "–" if time is None else f"{time:,.1f}" if time < 100 else f"{time:,.0f}"
