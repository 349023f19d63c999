"""An MCP server at `localhost` for a row with `docker`: the one that listens inside the row's container."""

from collections.abc import AsyncIterator, Hashable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

from distill.records.faults import Faults, InputError
from distill.records.types import Prompt
from distill.tools.mcp.mcp_connection import connected
from distill.tools.mcp.mcp_server import McpServer
from distill.tools.mcp.mcp_source import McpTools
from distill.tools.mcp.tool_lists import ToolLists
from distill.tools.python.threads import in_thread
from distill.tools.sandbox.container import Sandbox
from distill.tools.sandbox.sandboxes import Sandboxes
from distill.tools.source import Caller, Offer, SessionLost, Source


class SandboxMcp(Source):
    """The tools of the server in each image.

    What an image offers does not depend on `docker_env`: a rollout in which it does is lost, as with any server that
    changes its tools.
    """

    stateful = True

    def __init__(self, server: McpServer, lists: ToolLists | None, sandboxes: Sandboxes):
        self.origin = self.prefix = server.name
        self._server, self._lists, self._sandboxes = server, lists, sandboxes
        self._images: dict[Hashable, McpTools] = {}

    def group(self, prompt: Prompt) -> str | None:
        """The version of the row's sandbox; None for a row without one, which gets no tools from here."""
        return self._sandboxes.version(prompt)

    async def offers(self, prompt: Prompt) -> list[Offer]:
        """As McpTools."""
        if not prompt.get("docker"):
            return []
        try:
            return await self._image(prompt).all_offers()
        except InputError as error:
            raise InputError(f"{prompt['source']}: {fault}" for fault in error.faults) from None

    def open(self, prompt: Prompt, sandbox: Sandbox) -> AbstractAsyncContextManager[Caller]:
        """A session with the server in the rollout's sandbox."""
        return self._image(prompt).open(prompt, sandbox)

    async def ready(self, prompts: list[Prompt]) -> None:
        """As McpTools, for each image whose tools were asked for."""
        faults = Faults()
        first_of_group = {self.group(prompt): prompt for prompt in reversed(prompts)}
        for prompt in (prompt for group, prompt in first_of_group.items() if group in self._images):
            with faults.collect(f"{prompt['source']}: "):
                await self._image(prompt).check()
        faults.check()

    def _image(self, prompt: Prompt) -> McpTools:
        group = self.group(prompt)
        if group not in self._images:
            self._images[group] = McpTools(self._server, self._lists, group, partial(self._inside, prompt))
        return self._images[group]

    @asynccontextmanager
    async def _inside(self, prompt: Prompt, sandbox: Sandbox | None) -> AsyncIterator[Any]:
        """A client of the server in `sandbox`, without one in a container that is opened for `prompt`. Raises SessionLost,
        with why the container or the tunnel failed."""
        if sandbox is None:
            async with self._sandboxes.open(prompt) as own, self._inside(prompt, own) as client:
                yield client
            return
        tunnel = sandbox.tunnel(self._server.port)
        try:
            async with connected(self._server, tunnel.path) as client:
                yield client
        except SessionLost as error:
            reason = await in_thread(sandbox.end) or tunnel.error
            raise SessionLost(f"{error}{'; ' + reason if reason else ''}") from None
