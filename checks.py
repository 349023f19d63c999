"""Your own checks of training rows: functions under `@check`, run by `filter` (its check `own`) on every row.

A check gets the row (`messages`, `tools`, `metadata`, `outcome`, …; see schemas/row.schema.json) and returns what is
wrong with it, or None. With a `Fault` it can point at messages, which `filter.own: mask` needs.
"""

from typing import Any

from distill.checks import check


@check
def looks_it_up(row: dict[str, Any]) -> str | None:
    """In the shop nothing is known by heart: a right answer without a tool call was guessed."""
    return None if row["outcome"]["tool_calls"] or not row["tools"] else "answers without calling a tool"
