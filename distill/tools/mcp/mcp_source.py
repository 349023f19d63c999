"""An MCP server as a source of tools: a session of its own for each rollout, or one for all."""

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from distill.records.faults import InputError
from distill.records.types import Prompt
from distill.tools.mcp import mcp_tool
from distill.tools.mcp.mcp_connection import connected
from distill.tools.mcp.mcp_server import McpServer
from distill.tools.mcp.mcp_session import McpSession
from distill.tools.mcp.tool_lists import ToolLists
from distill.tools.resource import TaskOwned
from distill.tools.source import Caller, Offer, SessionLost, Source

BACK_S = 60.0
"""How long a server that a run has lost may take to come back, as one does that is started anew."""
LOOKS_S = 2.0
Connector = Callable[[Any], AbstractAsyncContextManager[Any]]
"""Gives a client of the server, in the rollout's sandbox if it has one. Raises SessionLost."""


class McpTools(Source):
    """The tools of a server, remembered in `lists`: a session in which it offers others is lost, since the model was
    offered these.

    `image`: the key in `lists` of the image that the server runs in, and `connector` the way into its containers.
    """

    def __init__(
        self,
        server: McpServer,
        lists: ToolLists | None,
        image: Hashable = None,
        connector: Connector | None = None,
    ):
        self.origin = self.prefix = server.name
        self.server, self.stateful = server, server.isolation == "rollout" or connector is not None
        self._lists, self._image = lists, image
        self._connector = connector or (lambda sandbox: connected(server))
        self._tools: list[dict[str, Any]] | None = None
        self._shared: TaskOwned[McpSession] | None = None
        self._checked = False
        self._back: asyncio.Task[None] | None = None

    def group(self, prompt: Prompt) -> Hashable:
        """Whether the prompt uses the server of the same address inside its sandbox (sandbox/mcp.py), not this one."""
        return bool(self.server.on_loopback and prompt.get("docker"))

    async def offers(self, prompt: Prompt) -> list[Offer]:
        """The tools by name. Raises InputError when the server cannot be reached, or a tool cannot be offered."""
        return [] if self.group(prompt) else await self.all_offers()

    async def all_offers(self) -> list[Offer]:
        """As `offers`, for any prompt."""
        if self._tools is None and self._lists:
            remembered = self._lists.get(self.origin, self._image)
            self._tools = remembered and self.server.allowed(remembered)
        if self._tools is None:
            await self.check()
        # In a rollout's own session servers interrupt one call for the next.
        return [
            Offer(mcp_tool.schema(tool), source_name=tool["name"], keeps_state=self.stateful)
            for tool in self._tools or []
        ]

    async def ready(self, prompts: list[Prompt]) -> None:
        """As `check`, if one of the prompts uses this server."""
        if not all(self.group(prompt) for prompt in prompts):
            await self.check()

    async def check(self) -> None:
        """Asks the server for its tools, once per run. Raises InputError when it cannot be reached, when a tool cannot
        be offered to a model, or when they differ from those remembered."""
        if not self._checked:
            await self._check()

    async def _check(self) -> None:
        listed = await self._listed()
        tools = self.server.allowed(listed)
        faults = [fault for tool in tools for fault in mcp_tool.faults(tool)]
        faults += self.server.allows_nothing(listed)
        then = self.server.then
        if then and then not in [tool["name"] for tool in listed]:  # `then` need not be one that the model may see
            faults.append(f"/then: it has no tool '{then}'")
        if self._tools is not None and tools != self._tools:
            faults.append(
                f": its tools changed since answers were bought with them ({mcp_tool.difference(self._tools, tools)}); "
                "pin the server's version, or type `make tools` to take the new ones: the teacher is then asked, and "
                "paid, anew"
            )
        if faults:
            raise InputError(f"params.yaml: {self.server.key}{fault}" for fault in faults)
        if self._tools is None and self._lists:
            self._lists.put(self.origin, self._image, listed)
        self._tools, self._checked = tools, True

    async def check_alive(self) -> None:
        """Waits until a server that this run has reached is there again, with the same tools. Raises InputError when it
        stays away. A shared session that is open says enough, and of some servers there can be only one."""
        if not self._checked or (self._shared and self._shared.is_open):
            return
        if self._back is None or self._back.done():  # one look for all rollouts that have lost it
            self._back = asyncio.create_task(self._wait_for_it())
        await asyncio.shield(self._back)

    async def _wait_for_it(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + BACK_S
        while True:
            try:
                return await self._check()
            except InputError as error:
                if loop.time() > end:
                    raise InputError(
                        f"{fault}; every answer that was paid for is kept: see to the server, and run again to go on"
                        for fault in error.faults
                    ) from None
            await asyncio.sleep(LOOKS_S)

    @asynccontextmanager
    async def _session(self, sandbox: Any = None) -> AsyncIterator[McpSession]:
        async with self._connector(sandbox) as client:
            yield McpSession(client, self.server, self._tools or [])

    @asynccontextmanager
    async def _as_promised(self, sandbox: Any = None) -> AsyncIterator[McpSession]:
        """A session that is lost at once where the server offers other tools than the model was offered."""
        async with self._session(sandbox) as session:
            await session.check()
            yield session

    async def _listed(self) -> list[dict[str, Any]]:
        owner = TaskOwned(self._session())
        try:
            session = await owner.get()
            return await owner.use(session.listed())
        except SessionLost as error:
            raise InputError(f"params.yaml: {self.server.key}: {error}") from None
        finally:
            await owner.close()

    @asynccontextmanager
    async def open(self, prompt: Prompt, sandbox: Any) -> AsyncIterator[Caller]:
        """A session of the rollout's own, or the one that all share (opened anew when it was lost)."""
        if self.stateful:
            async with self._as_promised(sandbox) as session:
                yield session.call
            return
        if self._shared is None or not self._shared.alive:
            self._shared = TaskOwned(self._as_promised())
        owner = self._shared
        session = await owner.get()
        try:
            yield lambda name, arguments: owner.use(session.call_of_many(name, arguments))
        finally:
            if session.lost and self._shared is owner:
                self._shared = None
                await owner.close()

    async def close(self) -> None:
        """Ends the shared session."""
        if self._shared:
            await self._shared.close()
