"""The checks of the filter, in the order in which the funnel shows them.

A check is one module with
- `check(row, context) -> Fault | None`, pure: what is wrong with the row, and where; what the assistant says and calls is
  judged in the turns that are learned from (not `weight: 0`). Where schemas/params.schema.json allows it the mode `mask`,
  the assistant's turns that the fault points at stay in the context and are not learned from;
- `ADVICE`, what to try when it rejects everything;
- `PREFILTER`, where it looks for a pattern: see prefilter.py.

A contest compares the rows that all checks let through with each other. It is one module with
- `losers(standing, rows, filters) -> {place: Fault}`: which of the `standing` rows (place in the file -> facts) are rejected;
  `rows()` starts a pass over all rows, `filters` is what params.yaml says under `filter`;
- `ADVICE`, as above. Contests come after the checks, in their order.

A name here is a key of `filter` in params.yaml and a `check` in schemas/conversation.schema.json.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from distill.dataset.checks import (
    answer,
    calls,
    contaminated,
    duplicate,
    final_answer,
    finished,
    identity,
    injection,
    length,
    loop,
    max_per_prompt,
    near_duplicate,
    own,
    paired,
    pii,
    refusal,
    secrets,
    tool_errors,
    tools_shown,
)

CHECKS: dict[str, ModuleType] = {
    "finished": finished,
    "final_answer": final_answer,
    "paired": paired,
    "calls": calls,
    "tool_errors": tool_errors,
    "loop": loop,
    "answer": answer,
    "refusal": refusal,
    "identity": identity,
    "secrets": secrets,
    "pii": pii,
    "injection": injection,
    "own": own,
    "contaminated": contaminated,
    "tools_shown": tools_shown,
    "length": length,
}

CONTESTS: dict[str, ModuleType] = {
    "duplicate": duplicate,
    "near_duplicate": near_duplicate,
    "max_per_prompt": max_per_prompt,
}


def on(filters: Mapping[str, Any]) -> list[str]:
    """The names of the checks and contests that are on, in order."""
    return [name for name in (*CHECKS, *CONTESTS) if filters[name] not in ("off", None)]
