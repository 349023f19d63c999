"""What all rollouts of a run share."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from distill.records.ids import content_id
from distill.teacher.teacher import Teacher
from distill.teacher.tool_results import ToolResults
from distill.tools.toolbox import Toolbox


@dataclass
class Setting:
    """Who is asked, with which tools and params. `tools_version`: see tools_version.py."""

    teacher: Teacher
    toolbox: Toolbox
    params: dict[str, Any]
    tools_version: str

    @cached_property
    def results(self) -> ToolResults:
        """What these tools said before."""
        return ToolResults(self.teacher.store.root, self.tools_version)

    @cached_property
    def asked(self) -> dict[str, Any]:
        """The `teacher` of a rollout record: who is asked, with which settings."""
        shown = self.teacher.shown
        return {
            **self.teacher.model.identity,
            "sampling": self.teacher.sampling,
            "agent": self.params["agent"],
            "demonstrations": content_id(shown) if shown else None,
        }

    @cached_property
    def asked_id(self) -> str:
        """The content id of `asked`."""
        return content_id(self.asked)

    def rollout_key(self, prompt: dict[str, Any], sample: int) -> str:
        """The key of a rollout: its prompt, the tools offered, the teacher, and the sample; the row where a tool reads
        it. 64 hex digits."""
        asked = {"prompt": prompt["id"], "tools": self.toolbox.offered(prompt).id, "teacher": self.asked_id}
        row = self.row_id(prompt)
        return content_id({**asked, "sample": sample} | ({"row": row} if row else {}), length=64)

    def row_id(self, prompt: dict[str, Any]) -> str | None:
        """The content id of what decides the tools' results beside the conversation; None when nothing does: the row's
        metadata where a tool reads it, and the sandbox that the tools are in."""
        read = {key: prompt[key] for key in ("docker", "docker_env") if prompt.get(key)}
        if any(offer.reads_row for _, offer in self.toolbox.offered(prompt).tools):
            read["metadata"] = prompt["metadata"]
        return content_id(read) if read else None
