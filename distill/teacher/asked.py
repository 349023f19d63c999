"""Who is asked: the teacher or the judge, as params.yaml names them."""

from typing import Any, NamedTuple

from distill.records.types import Params


class Asked(NamedTuple):
    """A model, where and how it is asked, and the group `runtime` of params.yaml."""

    group: str
    """Of the other parameters, `teacher` or `judge`: where people are told to change them."""
    model: str
    api: str
    base_url: str | None
    keys: tuple[str, ...]
    """The variables that may hold the key for `base_url`, the best first."""
    temperature: float | None
    temperature_optional: bool
    """Whether a model that refuses the temperature is asked again without."""
    reasoning_effort: str | None
    max_output_tokens: int | None
    max_turns: int
    """Answers in one conversation, at most."""
    runtime: dict[str, Any]

    @property
    def place(self) -> str:
        """Where params.yaml names the model."""
        return "params.yaml: /judge/model" if self.group == "judge" else "params.yaml: /model"


def asked_teacher(params: Params) -> Asked:
    """The teacher of params.yaml."""
    teacher = params["teacher"]
    return Asked(
        group="teacher",
        model=params["model"],
        api=teacher["api"],
        base_url=teacher["base_url"],
        keys=("TEACHER_API_KEY",),
        temperature=teacher["temperature"],
        temperature_optional=False,
        reasoning_effort=teacher["reasoning_effort"],
        max_output_tokens=teacher["max_output_tokens"],
        max_turns=params["agent"]["max_turns"],
        runtime=params["runtime"],
    )
