"""All tools of a run: which of them a prompt is offered, and a session of them for each rollout."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Hashable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from distill.records.faults import InputError
from distill.records.ids import content_id
from distill.tools import python_source
from distill.tools.mcp_server import servers
from distill.tools.mcp_source import McpTools
from distill.tools.python_source import PythonTools
from distill.tools.sandbox.container import Limits as BoxLimits
from distill.tools.sandbox.functions import SandboxTools
from distill.tools.sandbox.mcp import SandboxMcp
from distill.tools.sandbox.sandboxes import Sandboxes as ContainerSandboxes
from distill.tools.session import Limits, Session
from distill.tools.source import Offer, Sandboxes, Source
from distill.tools.tool_lists import ToolLists

LONGEST_NAME = 64
"""Characters that OpenAI takes for the name of a function."""


class Offered(NamedTuple):
    """The tools of a prompt, each with where it comes from; their schemas; the content id of these; and whether the
    results of one depend on the row's metadata."""

    tools: list[tuple[Source, Offer]]
    schemas: list[dict[str, Any]]
    id: str
    reads_row: bool


class Toolbox:
    """The sources in order; `prepare` before anything else. `sessions`: rollouts that may have a server's session or a
    sandbox of their own at the same time."""

    def __init__(
        self,
        sources: Sequence[Source],
        limits: Limits,
        sandboxes: Sandboxes | None = None,
        sessions: int = 8,
    ):
        self._sources, self._limits, self._sandboxes = list(sources), limits, sandboxes
        self._places = asyncio.Semaphore(sessions)
        self._offers: dict[tuple[int, Hashable], list[Offer]] = {}
        self._all: dict[Hashable, list[tuple[Source, Offer]]] = {}
        self._cases: dict[Hashable, Offered] = {}

    async def prepare(self, prompts: list[dict[str, Any]]) -> None:
        """Finds out which tools there are for these prompts. Raises InputError with every fault, also when a row names
        a tool that there is not."""
        self.refuse(prompts)
        asked = {(id(source), source.group(prompt)): (source, prompt) for prompt in prompts for source in self._sources}
        await _all_of([self._ask(group, *of) for group, of in asked.items()])
        faults: list[str] = []
        known: dict[Hashable, list[str]] = {}
        for prompt in prompts:
            groups = self._groups(prompt)
            if groups not in known:
                known[groups] = self.names(prompt)
                faults += [f"{prompt['source']}: {fault}" for fault in _misnamed(known[groups])]
            faults += [
                f"{prompt['source']}: /tools: there is no tool '{name}'; there are: {', '.join(known[groups]) or 'none'}"
                for name in prompt.get("tools") or []
                if name not in known[groups]
            ]
        if faults:
            raise InputError(faults)

    def refuse(self, prompts: list[dict[str, Any]]) -> None:
        """Raises InputError for rows whose sandbox cannot be one, whatever is installed here."""
        faults = self._sandboxes.faults(prompts) if self._sandboxes else []
        if faults:
            raise InputError(faults)

    def sandbox_version(self, prompt: dict[str, Any]) -> str | None:
        """As Sandboxes.version."""
        return self._sandboxes.version(prompt) if self._sandboxes else None

    async def ready(self, prompts: list[dict[str, Any]]) -> None:
        """Makes sure that the tools of these prompts can be had, before anything is bought. Raises InputError."""
        if self._sandboxes:
            await self._sandboxes.ready(prompts)
        await _all_of([source.ready(prompts) for source in self._sources])

    async def close(self) -> None:
        """Gives back what is not of one rollout."""
        for source in self._sources:
            await source.close()
        if self._sandboxes:
            await self._sandboxes.close()

    def names(self, prompt: dict[str, Any]) -> list[str]:
        """The names of all tools that a row like this may ask for."""
        return [offer.name for _, offer in self._tools(self._groups(prompt))]

    def offered(self, prompt: dict[str, Any]) -> Offered:
        """The tools that a prompt is offered: all, or those that its row names."""
        names, groups = prompt.get("tools"), self._groups(prompt)
        case = None if names is None else tuple(names), groups
        if case not in self._cases:
            tools = [tool for tool in self._tools(groups) if names is None or tool[1].name in names]
            schemas = [offer.schema for _, offer in tools]
            self._cases[case] = Offered(tools, schemas, content_id(schemas), any(offer.reads_row for _, offer in tools))
        return self._cases[case]

    @asynccontextmanager
    async def open(self, prompt: dict[str, Any], sample: int = 0) -> AsyncIterator[Session]:
        """The tools for one rollout of a prompt. Nothing is started before it is needed; everything is closed."""
        offered = self.offered(prompt).tools
        session = Session(prompt | {"sample": sample}, offered, self._limits, self._sandboxes, self._places)
        try:
            yield session
        finally:
            await session.close()

    async def _ask(self, group: tuple[int, Hashable], source: Source, prompt: dict[str, Any]) -> None:
        self._offers[group] = await source.offers(prompt)

    def _groups(self, prompt: dict[str, Any]) -> tuple[Hashable, ...]:
        return tuple(source.group(prompt) for source in self._sources)

    def _tools(self, groups: tuple[Hashable, ...]) -> list[tuple[Source, Offer]]:
        """All tools for prompts of these groups (one of each source)."""
        if groups not in self._all:
            found = [
                (source, offer)
                for source, group in zip(self._sources, groups, strict=True)
                for offer in self._offers.get((id(source), group), ())
            ]
            count = Counter(offer.name for _, offer in found)
            self._all[groups] = [(source, _told_apart(source, offer, count[offer.name])) for source, offer in found]
        return self._all[groups]


@asynccontextmanager
async def opened(
    params: dict[str, Any], prompts: list[dict[str, Any]], lists: ToolLists | None = None
) -> AsyncIterator[Toolbox]:
    """The toolbox that params.yaml describes, prepared for these prompts; `lists` remembers what servers offer."""
    toolbox = load(params, lists=lists)
    try:
        await toolbox.prepare(prompts)
        yield toolbox
    finally:
        await toolbox.close()


def load(params: dict[str, Any], tools_file: Path | str = "tools.py", lists: ToolLists | None = None) -> Toolbox:
    """The toolbox that params.yaml describes. Raises InputError with every fault of every tool, as `tools.py:line: …`."""
    agent = params["agent"]
    own = python_source.load(tools_file)
    boxed = {name: tool for name, tool in own.tools.items() if tool.sandbox}
    here = {name: tool for name, tool in own.tools.items() if not tool.sandbox}
    file = Path(tools_file)
    sandboxes = ContainerSandboxes(BoxLimits(**params.get("tools", {}).get("sandbox", {})), Path.cwd(), tuple(boxed))
    sources: list[Source] = [
        PythonTools(own.origin, here),
        SandboxTools(file, boxed, agent["tool_timeout_s"], sandboxes),
    ]
    for server in servers(params):
        sources.append(McpTools(server, lists))
        if server.on_loopback:
            sources.append(SandboxMcp(server, lists, sandboxes))
    limits = Limits(agent["tool_timeout_s"], agent["tool_output_chars"])
    return Toolbox(sources, limits, sandboxes, params["runtime"]["tool_sessions"])


async def _all_of(works: list[Awaitable[None]]) -> None:
    """Awaits them side by side. Raises InputError with the faults of all."""
    ends = await asyncio.gather(*works, return_exceptions=True)
    for end in ends:
        if isinstance(end, BaseException) and not isinstance(end, InputError):
            raise end
    faults = [fault for end in ends if isinstance(end, InputError) for fault in end.faults]
    if faults:
        raise InputError(faults)


def _told_apart(source: Source, offer: Offer, count: int) -> Offer:
    return offer.renamed(f"{source.prefix}_{offer.name}") if source.prefix and count > 1 else offer


def _misnamed(names: list[str]) -> list[str]:
    """What is wrong with the names of the tools that a prompt may get."""
    twice = [f"two tools are called '{name}'" for name, count in Counter(names).items() if count > 1]
    return twice + [
        f"the name '{name}' has more than {LONGEST_NAME} characters: put that tool under deny, or give its server a"
        " shorter name"
        for name in names
        if len(name) > LONGEST_NAME
    ]
