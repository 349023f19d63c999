"""The student sees the tools: the prompt that its template renders names every tool and every parameter.

A template that drops the tools, or their parameters, trains a student that cannot know what it may call.
"""

import json
from typing import Any

from distill.dataset.checks.context import CheckContext
from distill.dataset.checks.fault import Fault, listed

ADVICE = "the student's chat template drops tools: name another in student.template"


def check(row: dict[str, Any], context: CheckContext) -> Fault | None:
    if not row["tools"]:
        return None
    text = context.offer(row["tools"])
    if text is None:  # where the template cannot render the row at all, the check `length` reports it
        return None
    faults = []
    for number, tool in enumerate(row["tools"]):
        function = tool["function"]
        names = [function["name"], *function["parameters"].get("properties", ())]
        missing = [name for name in names if name not in text and json.dumps(name)[1:-1] not in text]
        if missing:
            faults.append((f"/tools/{number}", f"the rendered prompt lacks {', '.join(missing)}"))
    return listed(faults) if faults else None
