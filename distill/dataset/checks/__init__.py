"""The checks of the filter, in the order in which the funnel shows them.

A check is one module with
- `check(row, context) -> Fault | None`, pure: what is wrong with the row, and where;
- `ADVICE`, what to try when it rejects everything;
- `MASKS = True`, where its mode may be `mask`: then the assistant's turns that the fault points at stay in the context
  and are not learned from (`weight: 0`). A check that judges the row as a whole leaves it out.

A name here is a key of `filter` in params.yaml and a name in schemas/rejected.schema.json.
"""

from types import ModuleType

from distill.dataset.checks import (
    answer,
    calls,
    duplicate,
    final_answer,
    finished,
    identity,
    injection,
    length,
    loop,
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
    "duplicate": duplicate,
    "tools_shown": tools_shown,
    "length": length,
}


def modes(name: str) -> tuple[str, ...]:
    """The modes that a check has."""
    return ("reject", "mask", "off") if getattr(CHECKS[name], "MASKS", False) else ("reject", "off")
