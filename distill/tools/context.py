"""What a tool can learn and keep about the rollout that calls it, hidden from the model."""

from dataclasses import dataclass
from typing import Any

from distill.records.types import Metadata


@dataclass(frozen=True)
class ToolContext:
    """The row behind a rollout, `Context` in tools.py. A parameter of this type is filled in; the model does not see it.

    `metadata` is a copy of the row's, `expected_answer` included: whatever a tool reveals of it, the teacher reads and
    the student learns. `prompt_id` and `sample` identify the rollout in every run, so they can seed random choices.
    """

    metadata: Metadata
    prompt_id: str
    sample: int


class ToolState(dict[str, Any]):
    """What the calls of a rollout keep for the later ones, `State` in tools.py: a dict, empty when the rollout begins.

    A parameter of this type is filled in; the model does not see it. Calls with it run one after the other, and where a
    rollout is resumed, the earlier ones are made again, so that it is filled as it was.
    """
