"""The setting that all rollouts of a run share: teacher, tools and parameters."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property

from distill.agent.tool_results import ToolResults
from distill.agent.tools_version import tools_version
from distill.records.ids import content_id
from distill.records.types import Params, Prompt, Request
from distill.teacher.asked import asked_teacher
from distill.teacher.demonstrations import read_demonstrations
from distill.teacher.open_model import open_teacher
from distill.teacher.store import Store
from distill.teacher.teacher import Teacher
from distill.tools import toolbox
from distill.tools.mcp.tool_lists import ToolLists, committed_lists
from distill.tools.toolbox import Toolbox


@dataclass
class Setting:
    """Who is asked, with which tools and params. `tools_version`: see tools_version.py; `lists`: what MCP servers offered
    before, for this version. `calling`: how many rollouts wait for their tools at the moment."""

    teacher: Teacher
    toolbox: Toolbox
    params: Params
    tools_version: str
    lists: ToolLists
    calling: int = field(default=0, init=False)
    _results: dict[str, ToolResults] = field(default_factory=dict, init=False)

    def version(self, prompt: Prompt) -> str:
        """The version of the tools of one prompt, for one with a sandbox that of the sandbox and its environment included.
        12 hex digits."""
        sandbox = self.toolbox.sandboxes.version(prompt)
        environment = [prompt["docker_env"]] if prompt.get("docker_env") else []
        return content_id([self.tools_version, sandbox, *environment], length=12) if sandbox else self.tools_version

    def results(self, prompt: Prompt) -> ToolResults:
        """The stored results of a prompt's tools."""
        version = self.version(prompt)
        if version not in self._results:
            self._results[version] = ToolResults(self.teacher.store.root, version)
        return self._results[version]

    @cached_property
    def asked(self) -> Request:
        """The `teacher` of a rollout record: who is asked, with which settings."""
        shown = self.teacher.demonstrations
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

    def rollout_key(self, prompt: Prompt, sample: int) -> str:
        """The key of a rollout: its prompt, the tools offered, the teacher, and the sample. 64 hex digits."""
        tools = self.toolbox.offered(prompt).id
        return content_id(
            {"prompt": prompt["id"], "tools": tools, "teacher": self.asked_id, "sample": sample}, length=64
        )

    def index_key(self, prompt: Prompt, sample: int) -> str:
        """The key of a rollout in the index of finished ones, which exists per version of the tools: it also depends on
        the row that a tool reads, and on the sandbox."""
        key, row = self.rollout_key(prompt, sample), self.row_id(prompt)
        sandbox = self.toolbox.sandboxes.version(prompt)
        return content_id([key, row, sandbox], length=64) if row or sandbox else key

    def row_id(self, prompt: Prompt) -> str | None:
        """The content id of the metadata that a tool of the prompt reads unseen by the model; None without such a tool."""
        return content_id(prompt["metadata"]) if self.toolbox.offered(prompt).reads_row else None


@asynccontextmanager
async def opened(chosen: list[tuple[Prompt, int]], params: Params) -> AsyncIterator[Setting]:
    """The setting that `params` describe, for these (prompt, sample) pairs; its tools are closed at the end.

    Raises InputError when prompts name unknown tools, or the parameters of the teacher are invalid.
    """
    prompts, version = [prompt for prompt, _ in chosen], tools_version(params)
    lists = ToolLists(Store().root, version, committed_lists())
    async with toolbox.opened(params, prompts, lists) as tools:
        with_tools = any(tools.offered(prompt).schemas for prompt in prompts)
        shown = read_demonstrations(params["teacher"]["demonstrations"])
        yield Setting(open_teacher(asked_teacher(params), shown, with_tools), tools, params, version, lists)
