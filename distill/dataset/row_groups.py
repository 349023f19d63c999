"""The groups that rows belong to, by what was asked and by the tools they call, and which of them the filter lost."""

from typing import Any

from distill.answers import groups
from distill.answers.groups import ANSWER_TYPE, Groups
from distill.records.types import Row

Counts = dict[str, dict[str, int]]
TOOL = "tool"
MOST_TOOLS = 200
"""Names of tools that are counted; where rows call more, none is."""
MOST_LOST = 5
"""Lost groups that are named."""


class RowGroups:
    """How many rows are in each group, in memory that no number of rows makes larger."""

    def __init__(self) -> None:
        self._asked, self._called = Groups(), Groups(MOST_TOOLS)

    def add(self, row: Row) -> None:
        """Counts a row."""
        self._asked.add(groups.pairs(row["metadata"]))
        self.add_tools(learned(row))

    def add_tools(self, names: set[str]) -> None:
        """Counts a row as one that calls the tools, and nothing else of it."""
        self._called.add((TOOL, name) for name in names)

    def merge(self, other: "RowGroups") -> None:
        """Adds what was counted elsewhere."""
        self._asked.merge(other._asked)
        self._called.merge(other._called)

    def report(self, lost: "RowGroups") -> dict[str, Any]:
        """The groups as reports/filter.json has them; `lost` counts the rows of them that are not kept. Of the metadata,
        the keys with two to eight values; `source` has a place of its own there."""
        asked, gone = self._asked.counts, lost._asked.counts
        counted = {key: _counted(values, gone.get(key)) for key, values in sorted(asked.items()) if values}
        answer_types = counted.pop(ANSWER_TYPE, {})
        counted.pop("source", None)
        return {
            "by_answer_type": answer_types,
            "by_tool": _counted(self._called.counts.get(TOOL), lost._called.counts.get(TOOL)),
            "by_metadata": {key: values for key, values in counted.items() if len(values) > 1},
        }


def lost(report: dict[str, Any]) -> list[str]:
    """The groups of a filter report of which no row is kept, as lines, the largest first; none where no row is kept."""
    if not report["kept"]:
        return []
    by_key = {"answer_type": report["by_answer_type"], **report["by_metadata"], "source": report["by_source"]}
    found = [
        (count["rows"], f"{key}={value}: 0 of {count['rows']} rows kept")
        for key, counts in by_key.items()
        for value, count in counts.items()
        if not count["kept"]
    ]
    found += [
        (count["rows"], f"no kept row calls {name}, as {count['rows']} of all rows did")
        for name, count in report["by_tool"].items()
        if not count["kept"]
    ]
    lines = [line for _, line in sorted(found, key=lambda one: -one[0])]
    more = len(lines) - MOST_LOST
    return [*lines[:MOST_LOST], *([f"and {more} more groups, see reports/filter.json"] if more > 0 else [])]


def learned(row: Row) -> set[str]:
    """The tools that a row teaches: those of the calls that are learned from."""
    return {
        call["function"]["name"]
        for message in row["messages"]
        if "tool_calls" in message and message.get("weight") != 0
        for call in message["tool_calls"]
    }


def _counted(rows: dict[str, int] | None, lost: dict[str, int] | None) -> Counts:
    """Rows and kept rows by value, the most frequent first."""
    found = sorted((rows or {}).items(), key=lambda one: (-one[1], one[0]))
    return {value: {"rows": count, "kept": count - (lost or {}).get(value, 0)} for value, count in found}
