"""The interface of a source of tools: tools.py, an MCP server, a sandbox."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Hashable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any

from distill.project import credentials
from distill.records.types import Prompt, ToolSchema


class SessionLost(Exception):
    """The tools of this rollout are gone (a server died, a container was killed): the rollout ends, the run continues.

    The message becomes part of the rollout's record, and may quote a server or a container: credentials are replaced.
    """

    def __init__(self, message: str):
        super().__init__(credentials.redact(message))


class ToolError(Exception):
    """A call that failed; the message is for the model."""


@dataclass(frozen=True)
class Offer:
    """A tool that a source offers: its schema for the model (OpenAI's form) and its own time limit, if it has one."""

    schema: ToolSchema
    timeout_s: float | None = None
    source_name: str = ""
    """The source's name for it, if that differs from the model's."""
    reads_row: bool = False
    """Whether its results depend on the row's metadata, which is not part of the conversation."""
    keeps_state: bool = False
    """Whether each call changes what later ones find: those of a rollout run one after the other (waiting does not count
    against a call's time limit), and a rollout that is resumed makes them again, also where its source has no session."""

    @property
    def name(self) -> str:
        """The name by which the model calls it."""
        return self.schema["function"]["name"]

    def renamed(self, name: str) -> "Offer":
        """The same tool under another name for the model."""
        schema = {**self.schema, "function": {**self.schema["function"], "name": name}}
        return replace(self, schema=schema, source_name=self.source_name or self.name)


Caller = Callable[[str, dict[str, Any]], Awaitable[str]]
"""The tools of a source, open for one rollout: from a name and valid arguments to the result as text.

ToolError and any other exception becomes the result that the model reads; SessionLost ends the rollout. The session
enforces the limits of time and output.
"""


class Source(ABC):
    """Where tools come from.

    `origin`: its name for people (`tools.py`, `browser`). `prefix`: that of its tools' names when another source has the
    same ones; None: they keep their names. `stateful`: each rollout has a session of its own, which its calls change; an
    interrupted rollout that is resumed makes the earlier calls again. `keeps_time`: it ends a call that takes too long
    itself.
    """

    origin: str
    prefix: str | None = None
    stateful = keeps_time = False

    def group(self, prompt: Prompt) -> Hashable:
        """The group of a prompt: all prompts of a group are offered the same tools."""
        return None

    @abstractmethod
    async def offers(self, prompt: Prompt) -> list[Offer]:
        """The tools that a (prepared) prompt is offered; called once per group, before the teacher is asked. Raises
        InputError."""

    @abstractmethod
    def open(self, prompt: Prompt, sandbox: Any) -> AbstractAsyncContextManager[Caller]:
        """The tools, ready to be called in one rollout of this prompt (`sample` says which); `sandbox` is the rollout's,
        None without one.

        For a stateful source the context is entered and left in the same task, and the session may be gone before it is
        left. Raises SessionLost when it cannot be opened.
        """

    async def ready(self, prompts: list[Prompt]) -> None:  # noqa: B027 - some are always ready
        """Checks that the tools of these prompts are available, before the teacher is asked. Raises InputError."""

    async def check_alive(self) -> None:  # noqa: B027 - some cannot be gone
        """Checks that what this run has used is still there, after a rollout has lost it. Raises InputError."""

    async def close(self) -> None:  # noqa: B027 - some have nothing to close
        """Closes what rollouts share."""
