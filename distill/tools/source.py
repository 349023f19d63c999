"""What the toolbox knows of a source of tools: tools.py, an MCP server, a sandbox."""

from collections.abc import Hashable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol


class SessionLost(Exception):
    """The tools of this rollout are gone (a server died, a container was killed): the rollout ends, the run goes on."""


class ToolError(Exception):
    """A call that went wrong, worded for the model."""


@dataclass(frozen=True)
class Offer:
    """One tool: the schema that the model is offered (OpenAI's form) and its own time limit, if it has one."""

    schema: dict[str, Any]
    timeout_s: float | None = None
    own: str = ""
    """What the source calls it, where that is another name than the model's."""
    reads_row: bool = False
    """Whether its results depend on the row's metadata, which the conversation does not hold."""
    in_turn: bool = False
    """Whether the calls of a rollout wait for each other; the wait does not count against a call's time limit."""

    @property
    def name(self) -> str:
        """The name that the model calls."""
        return self.schema["function"]["name"]

    def renamed(self, name: str) -> "Offer":
        """The same tool under another name for the model."""
        schema = {**self.schema, "function": {**self.schema["function"], "name": name}}
        return replace(self, schema=schema, own=self.own or self.name)


class Caller(Protocol):
    """The tools of a source, open for one rollout."""

    async def call(self, name: str, arguments: dict[str, Any]) -> Any:
        """The result of a valid call: text, or what JSON can say. ToolError and any other exception is told to the
        model; SessionLost ends the rollout. Time and output limits are the session's business."""


class Source(Protocol):
    """`origin`: how people know it (`tools.py`, `browser`). `stateful`: a rollout has a session of its own, which
    earlier calls have changed; an interrupted rollout that goes on makes those calls again."""

    origin: str
    stateful: bool

    @property
    def prefix(self) -> str | None:
        """What its tools' names begin with when another source has the same; None: they keep their names."""

    def group(self, prompt: dict[str, Any]) -> Hashable:
        """Prompts of one group are offered the same tools; usually None."""

    async def offers(self, prompt: dict[str, Any]) -> list[Offer]:
        """The tools that a (prepared) prompt gets; asked once per group, before the teacher is. Raises InputError."""

    def open(self, prompt: dict[str, Any], sandbox: Any) -> AbstractAsyncContextManager[Caller]:
        """The tools, ready to be called in a rollout of this prompt (its `sample` says in which); `sandbox` is the
        rollout's own, None without one.

        That of a stateful source is entered and left in the same task, and may be gone before it is left. Raises
        SessionLost when it cannot be opened.
        """

    async def ready(self, prompts: list[dict[str, Any]]) -> None:
        """Makes sure that the tools of these prompts can be had, before the teacher is asked. Raises InputError."""

    async def close(self) -> None:
        """Gives back what is not of one rollout."""


class Sandboxes(Protocol):
    """Opens the sandbox of a rollout (sandbox/sandboxes.py)."""

    def open(self, prompt: dict[str, Any]) -> AbstractAsyncContextManager[Any]:
        """The sandbox of a prompt with `docker`; the value of the block is what the sources get as `sandbox`. Its
        `image` is the image's id."""

    def faults(self, prompts: list[dict[str, Any]]) -> list[str]:
        """What is wrong with the rows, without starting anything."""

    def version(self, prompt: dict[str, Any]) -> str | None:
        """A hash of what the results of a row's tools depend on, because they ran in its sandbox; None without one."""

    async def ready(self, prompts: list[dict[str, Any]]) -> None:
        """Makes sure that these prompts can have their sandboxes. Raises InputError."""

    async def close(self) -> None:
        """Gives back what is left."""
