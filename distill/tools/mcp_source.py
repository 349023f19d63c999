"""An MCP server as a source of tools: a session of its own for each rollout, or one for all."""

import asyncio
import re
from collections.abc import AsyncIterator, Hashable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from distill.records import credentials
from distill.records.faults import InputError
from distill.tools import arguments, mcp_results
from distill.tools.keeper import Keeper, explain
from distill.tools.mcp_connection import connected
from distill.tools.mcp_server import McpServer
from distill.tools.source import Caller, Offer, SessionLost, ToolError
from distill.tools.tool_lists import ToolLists

KNOWN_DIALECTS = ("draft-07/schema", "2020-12/schema")
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")
UNKNOWN = re.compile(
    r"(?i)(unknown|no such|not found|does not exist|invalid).{0,40}tool|tool.{0,80}(unknown|not found)"
)
LIST_S = 10.0
SAID = 400


class McpTools:
    """The tools of a server. What it offers is remembered in `lists`; a session in which it offers something else is
    lost, since the model was told otherwise."""

    def __init__(self, server: McpServer, lists: ToolLists | None = None):
        self.origin = self.prefix = server.name
        self.server, self.stateful = server, server.isolation == "rollout"
        self._lists = lists
        self._group: Hashable = None
        self._known: list[dict[str, Any]] | None = None
        self._shared: Keeper[McpCaller] | None = None
        self._seen = False

    def group(self, prompt: dict[str, Any]) -> Hashable:
        """All prompts get the same; one with a sandbox gets what listens inside of that (sandbox/mcp.py), not this."""
        return bool(self.server.on_loopback and prompt.get("docker"))

    async def offers(self, prompt: dict[str, Any]) -> list[Offer]:
        """The tools by name. Raises InputError when the server cannot be reached, or offers what no model can be told."""
        if self.group(prompt):
            return []
        return await self._offers()

    async def _offers(self) -> list[Offer]:
        if self._known is None and self._lists:
            self._known = self._allowed(self._lists.get(self.origin, self._group))
        if self._known is None:
            await self.check()
        # Servers interrupt one call for the next in a session that a rollout has to itself.
        return [Offer(schema(tool), own=tool["name"], in_turn=self.stateful) for tool in self._known or []]

    def _allowed(self, offered: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
        """Those that the model may see; `then` need not be one of them."""
        return offered and [tool for tool in offered if self.server.allows(tool["name"])]

    async def ready(self, prompts: list[dict[str, Any]]) -> None:
        """As `check`."""
        if not all(self.group(prompt) for prompt in prompts):
            await self.check()

    async def check(self) -> None:
        """Asks the server, unless it was asked in this run. Raises InputError: it must be reachable, its tools must be
        fit for a model and, if they are remembered, still the same."""
        if self._seen:
            return
        keeper = Keeper(self._connection())
        try:
            caller = await keeper.get()
            offered = await keeper.use(caller.offered())
        except SessionLost as error:
            raise InputError(f"params.yaml: {self.server.key}: {error}") from None
        finally:
            await keeper.close()
        found = self._allowed(offered) or []
        faults = [fault for tool in found for fault in _faults(tool)]
        missing = [self.server.then] if self.server.then and self.server.then not in _names(offered) else []
        faults += [f"/then: it has no tool '{name}'" for name in missing]
        if self._known is not None and found != self._known:
            faults.append(
                f": its tools changed since answers were bought with them ({_difference(self._known, found)}); pin the "
                "server's version, or type `make tools` to take the new ones: the teacher is then asked, and paid, anew"
            )
        if faults:
            raise InputError(f"params.yaml: {self.server.key}{fault}" for fault in faults)
        if self._known is None and self._lists:
            self._lists.put(self.origin, self._group, offered)
        self._known, self._seen = found, True

    @asynccontextmanager
    async def open(self, prompt: dict[str, Any], sandbox: Any) -> AsyncIterator[Caller]:
        """A session of the rollout's own, or the one that all share (opened anew when it was lost)."""
        if self.stateful:
            async with self._session(sandbox) as caller:
                await caller.check()
                yield caller
            return
        if self._shared is None or not self._shared.alive:
            self._shared = Keeper(self._connection())
        keeper = self._shared
        caller = await keeper.get()
        try:
            yield _Shared(keeper, caller)
        finally:
            if caller.lost and self._shared is keeper:
                self._shared = None
                await keeper.close()

    async def close(self) -> None:
        """Ends the shared session."""
        if self._shared:
            await self._shared.close()

    def _session(self, sandbox: Any) -> AbstractAsyncContextManager["McpCaller"]:
        return self._connection()

    @asynccontextmanager
    async def _connection(self, door: str | None = None) -> AsyncIterator["McpCaller"]:
        async with connected(self.server, door) as client:
            yield McpCaller(client, self.server, self)

    @property
    def known(self) -> list[dict[str, Any]]:
        """The tools as the model was told."""
        return self._known or []


class McpCaller:
    """The calls of one session."""

    def __init__(self, client: Any, server: McpServer, source: McpTools):
        self._client, self._server, self._source = client, server, source
        self.lost = False

    async def offered(self) -> list[dict[str, Any]]:
        """All that the server offers now, by name. Raises SessionLost when it does not say so in time."""
        try:
            async with asyncio.timeout(LIST_S):
                found = await self._listed()
        except TimeoutError:
            raise self._lost(f"did not list its tools within {LIST_S:g} s") from None
        except Exception as error:
            raise self._lost(f"does not list its tools: {' '.join(explain(error).split())[:SAID]}") from None
        return sorted(map(_kept, found), key=lambda tool: tool["name"])

    async def _listed(self) -> list[Any]:
        found, cursor = [], None
        while True:
            page = await self._client.list_tools(cursor=cursor, cache_mode="bypass")
            found += page.tools
            cursor = page.next_cursor
            if not cursor:
                return found

    async def check(self) -> None:
        """Raises SessionLost when the server offers something else than the model was told."""
        found = self._source._allowed(await self.offered()) or []
        if found != self._source.known:
            raise self._lost(f"changed its tools: {_difference(self._source.known, found)}")

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """What the tool says; after a tool that may have changed something, also what `then` says."""
        said = await self._say(name, arguments)
        then = self._server.then
        if then and name != then and not next(tool for tool in self._source.known if tool["name"] == name)["reads"]:
            said = f"{said.rstrip()}\n{await self._seen_after(then)}".lstrip()
        return said

    async def _seen_after(self, then: str) -> str:
        """What `then` says, or why it could not: the call before it succeeded, and is not to be repeated."""
        try:
            return await self._say(then, {})
        except ToolError as error:
            return f"({then}: {error})"

    async def _say(self, name: str, arguments: dict[str, Any]) -> str:
        from mcp import MCPError

        try:
            result = await self._client.call_tool(name, arguments)
        except MCPError as error:
            # Codes do not tell: servers use that of a lost session for ordinary errors. Who still offers the tools is there.
            await self.check()
            raise ToolError(credentials.redact(str(error))) from None
        said = mcp_results.text(result, self._server.drop)
        if result.is_error:
            if len(said) < 500 and UNKNOWN.search(said):
                await self.check()
            raise ToolError(said.removeprefix("Error: "))
        return said

    def _lost(self, what: str) -> SessionLost:
        self.lost = True
        return SessionLost(credentials.redact(f"MCP server '{self._server.name}' {what}"))


class _Shared:
    """The shared session, as one rollout calls it."""

    def __init__(self, keeper: Keeper[McpCaller], caller: McpCaller):
        self._keeper, self._caller = keeper, caller

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        return await self._keeper.use(self._caller.call(name, arguments))


def schema(tool: dict[str, Any]) -> dict[str, Any]:
    """A remembered tool in OpenAI's form. Its name is one that a model can call: dots and slashes become `_`."""
    parameters = {"type": "object", "properties": {}, **tool["parameters"]}
    if str(parameters.get("$schema", "")).rstrip("#").endswith(KNOWN_DIALECTS):
        del parameters["$schema"]  # every request would carry it, and it says nothing
    function = {
        "name": NOT_IN_NAMES.sub("_", tool["name"]),
        "description": tool["description"],
        "parameters": parameters,
    }
    return {"type": "function", "function": function}


def _kept(tool: Any) -> dict[str, Any]:
    hints = tool.annotations
    return {
        "name": tool.name,
        "description": credentials.redact(tool.description or ""),
        "parameters": tool.input_schema,
        "reads": bool(hints and hints.read_only_hint),
    }


def _names(tools: list[dict[str, Any]]) -> list[str]:
    return [tool["name"] for tool in tools]


def _faults(tool: dict[str, Any]) -> list[str]:
    name = tool["name"]
    fault = arguments.schema_fault(schema(tool)["function"]["parameters"])
    return [f": the schema of its tool '{name}' cannot be used: {fault}; put '{name}' under deny"] if fault else []


def _difference(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> str:
    old, new = ({tool["name"]: tool for tool in tools} for tools in (before, now))
    words = [f"new: {name}" for name in new if name not in old] + [f"gone: {name}" for name in old if name not in new]
    words += [f"changed: {name}" for name in old if name in new and old[name] != new[name]]
    return ", ".join(words)
