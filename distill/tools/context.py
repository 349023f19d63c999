"""What a tool may know of the rollout that calls it, without the model being told."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Context:
    """The row behind a rollout. A parameter of this type is filled in for the model, which does not see it.

    `metadata` is a copy of the row's, `expected_answer` included: what a tool says of it the teacher reads, and the
    student learns. `prompt_id` and `sample` name the rollout, the same in every run: a seed for what is drawn by chance.
    """

    metadata: dict[str, Any]
    prompt_id: str
    sample: int
