"""An MCP server at `localhost` for a row with `docker`: the one that listens inside of the row's container."""

from collections.abc import AsyncIterator, Hashable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from distill.records.faults import InputError
from distill.tools.mcp_server import McpServer
from distill.tools.mcp_source import McpCaller, McpTools
from distill.tools.sandbox.container import Box
from distill.tools.sandbox.sandboxes import Sandboxes
from distill.tools.source import Caller, Offer, SessionLost
from distill.tools.threads import in_thread
from distill.tools.tool_lists import ToolLists


class SandboxMcp:
    """The tools of the server in each image. What an image offers does not depend on `docker_env`: a rollout in which
    it does is lost, as with any server that changes its tools."""

    stateful = True

    def __init__(self, server: McpServer, lists: ToolLists | None, sandboxes: Sandboxes):
        self.origin = self.prefix = server.name
        self._server, self._lists, self._sandboxes = server, lists, sandboxes
        self._of: dict[Hashable, _Inside] = {}

    def group(self, prompt: dict[str, Any]) -> str | None:
        """Rows of one image get the same, others nothing."""
        return self._sandboxes.version(prompt)

    async def offers(self, prompt: dict[str, Any]) -> list[Offer]:
        """As McpTools."""
        return await self._inside(prompt).offers(prompt) if prompt.get("docker") else []

    def open(self, prompt: dict[str, Any], sandbox: Box) -> AbstractAsyncContextManager[Caller]:
        """A session with the server in the rollout's sandbox."""
        return self._inside(prompt).open(prompt, sandbox)

    async def ready(self, prompts: list[dict[str, Any]]) -> None:
        """As McpTools, for each image."""
        faults: list[str] = []
        for prompt in {self.group(prompt): prompt for prompt in reversed(prompts) if prompt.get("docker")}.values():
            try:
                await self._inside(prompt).check()
            except InputError as error:
                faults += [f"{prompt['source']}: {fault}" for fault in error.faults]
        if faults:
            raise InputError(faults)

    async def close(self) -> None:
        """There is nothing to close."""

    def _inside(self, prompt: dict[str, Any]) -> "_Inside":
        group = self.group(prompt)
        if group not in self._of:
            self._of[group] = _Inside(self._server, self._lists, group, self._sandboxes, prompt)
        return self._of[group]


class _Inside(McpTools):
    """The server in one image. To learn what it offers, a sandbox is opened for `prompt`."""

    def __init__(
        self,
        server: McpServer,
        lists: ToolLists | None,
        group: Hashable,
        sandboxes: Sandboxes,
        prompt: dict[str, Any],
    ):
        super().__init__(server, lists)
        self.stateful, self._group = True, group
        self._sandboxes, self._prompt = sandboxes, prompt

    def group(self, prompt: dict[str, Any]) -> bool:
        """It is there."""
        return False

    @asynccontextmanager
    async def _session(self, sandbox: Box) -> AsyncIterator[McpCaller]:
        door = sandbox.door(self.server.port)
        try:
            async with super()._connection(door.path) as caller:
                yield caller
        except SessionLost as error:
            why = await in_thread(sandbox.end, {}) or door.why
            raise SessionLost(f"{error}{'; ' + why if why else ''}") from None

    @asynccontextmanager
    async def _connection(self, door: str | None = None) -> AsyncIterator[McpCaller]:
        async with self._sandboxes.open(self._prompt) as box, self._session(box) as caller:
            yield caller
