"""A session with an MCP server: what the server lists, and the calls of one rollout or of all."""

import asyncio
import re
from typing import Any

from distill.tools.mcp import mcp_results, mcp_tool
from distill.tools.mcp.mcp_server import McpServer
from distill.tools.resource import explain
from distill.tools.source import SessionLost, ToolError

LIST_S = 10.0
ERROR_CHARS = 400
UNKNOWN_TOOL = re.compile(
    r"(?i)(unknown|no such|not found|does not exist|invalid).{0,40}tool|tool.{0,80}(unknown|not found)"
)
UNKNOWN_TOOL_CHARS = 500
"""Only a shorter error is searched for UNKNOWN_TOOL: in a long one, such as the text of a page, it may match by chance."""


class McpSession:
    """One session of a client. It is lost when the server no longer offers `promised`: the tools that the model was
    offered, by name and in their remembered form."""

    def __init__(self, client: Any, server: McpServer, promised: list[dict[str, Any]]):
        self._client, self._server, self._promised = client, server, promised
        self.lost = self._given_up = False
        self._checking: asyncio.Task[None] | None = None

    async def listed(self) -> list[dict[str, Any]]:
        """All tools that the server has now, by name. Raises SessionLost when it does not list them in time."""
        try:
            async with asyncio.timeout(LIST_S):
                tools = await self._all_pages()
        except TimeoutError:
            raise self._lost(f"did not list its tools within {LIST_S:g} s") from None
        except Exception as error:
            raise self._lost(f"does not list its tools: {' '.join(explain(error).split())[:ERROR_CHARS]}") from None
        return sorted(map(mcp_tool.remembered, tools), key=lambda tool: tool["name"])

    async def check(self) -> None:
        """Raises SessionLost when the server offers something else than the model was offered."""
        tools = self._server.allowed(await self.listed())
        if tools != self._promised:
            raise self._lost(f"changed its tools: {mcp_tool.difference(self._promised, tools)}")

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """The tool's result, followed by that of `then` if the tool may have changed something."""
        text = await self._result(name, arguments)
        then = self._server.then
        if then and name != then and not next(tool for tool in self._promised if tool["name"] == name)["reads"]:
            text = f"{text.rstrip()}\n{await self._result_of_then(then)}".lstrip()
        return text

    async def call_of_many(self, name: str, arguments: dict[str, Any]) -> str:
        """As `call`, in a session that all rollouts share. After a call that was given up the session is lost if the server
        hangs altogether: all later rollouts would wait in vain, too."""
        if self._given_up:
            await self._checked()
        try:
            return await self.call(name, arguments)
        except asyncio.CancelledError:
            self._given_up = True
            raise

    async def _checked(self) -> None:
        """One `check` for all calls that come meanwhile, each of which may have less time than it takes."""
        if self._checking is None:
            self._checking = asyncio.create_task(self.check())
            # Else asyncio would print what nobody waited for.
            self._checking.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(self._checking)
        self._given_up, self._checking = False, None

    async def _all_pages(self) -> list[Any]:
        tools, cursor = [], None
        while True:
            page = await self._client.list_tools(cursor=cursor, cache_mode="bypass")
            tools += page.tools
            cursor = page.next_cursor
            if not cursor:
                return tools

    async def _result_of_then(self, then: str) -> str:
        """The result of `then`, or why it failed: the call before it succeeded and must not be repeated."""
        try:
            return await self._result(then, {})
        except ToolError as error:
            return f"({then}: {error})"

    async def _result(self, name: str, arguments: dict[str, Any]) -> str:
        from mcp import MCPError

        try:
            result = await self._client.call_tool(name, arguments)
        except MCPError as error:
            # Servers use the error code of a lost session for ordinary errors, too: one that still lists its tools is there.
            try:
                await self.check()
            except SessionLost as lost:
                raise SessionLost(f"{lost}; before that a call of '{name}' failed: {error}") from None
            raise ToolError(str(error)) from None
        text = mcp_results.text(result, self._server.drop)
        if result.is_error:
            if len(text) < UNKNOWN_TOOL_CHARS and UNKNOWN_TOOL.search(text):
                await self.check()
            raise ToolError(text.removeprefix("Error: "))
        return text

    def _lost(self, what: str) -> SessionLost:
        self.lost = True
        return SessionLost(f"MCP server '{self._server.name}' {what}")
