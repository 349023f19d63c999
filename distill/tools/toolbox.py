"""All tools of a run: which of them each prompt is offered, and a session for each rollout."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Hashable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from distill.records.faults import Faults
from distill.records.ids import content_id
from distill.records.types import Params, Prompt, ToolSchema
from distill.tools import arguments
from distill.tools.mcp.mcp_server import servers
from distill.tools.mcp.mcp_source import McpTools
from distill.tools.mcp.tool_lists import ToolLists
from distill.tools.python import python_source
from distill.tools.python.python_source import PythonTools
from distill.tools.rollout_resources import RolloutResources
from distill.tools.sandbox.container import ContainerLimits
from distill.tools.sandbox.functions import SandboxTools
from distill.tools.sandbox.mcp import SandboxMcp
from distill.tools.sandbox.sandboxes import Sandboxes
from distill.tools.session import CallLimits, Session
from distill.tools.source import Offer, Source


class Offered(NamedTuple):
    """The tools of a prompt, each with its source; their schemas, with the content id `id`; and whether the results of
    one depend on the row's metadata."""

    tools: list[tuple[Source, Offer]]
    schemas: list[ToolSchema]
    id: str
    reads_row: bool


class Toolbox:
    """The sources in order, and the `sandboxes` of the run; call `prepare` before anything else.

    `sessions`: how many rollouts may have a server's session or a sandbox of their own at the same time; as many sources
    are asked for their tools at once.
    """

    def __init__(self, sources: list[Source], limits: CallLimits, sandboxes: Sandboxes, sessions: int):
        self._sources, self._limits, self.sandboxes = sources, limits, sandboxes
        self._places = asyncio.Semaphore(sessions)
        self._offers: dict[tuple[Source, Hashable], list[Offer]] = {}
        self._tools_by_groups: dict[Hashable, list[tuple[Source, Offer]]] = {}
        self._offered: dict[Hashable, Offered] = {}

    async def prepare(self, prompts: list[Prompt]) -> None:
        """As `ask`. Raises InputError also for every row whose sandbox is invalid, or that names an unknown tool."""
        self.sandboxes.check(prompts)
        await self.ask(prompts)
        faults = Faults()
        names_by_groups: dict[Hashable, list[str]] = {}
        for prompt in prompts:
            groups = self._groups(prompt)
            if groups not in names_by_groups:
                names_by_groups[groups] = self.names(prompt)
                faults.add(*(f"{prompt['source']}: {fault}" for fault in _name_faults(names_by_groups[groups])))
            names = names_by_groups[groups]
            for name in prompt.get("tools") or []:
                if name not in names:
                    fault = arguments.unknown(name, names)
                    faults.add(f"{prompt['source']}: /tools: {fault} (`make tools` shows them)")
        faults.check()

    async def ask(self, prompts: list[Prompt]) -> None:
        """Asks the sources for the tools of these prompts: a server in a container only for rows that may use it, since
        other images need not have it. Raises InputError."""
        inside = [source for source in self._sources if isinstance(source, SandboxMcp)]
        await self._ask([source for source in self._sources if source not in inside], prompts)
        boxed = [prompt for prompt in prompts if prompt.get("docker")] if inside else []
        users = [row for row in boxed if row.get("tools") is None or not {*row["tools"]} <= {*self.names(row)}]
        self._tools_by_groups.clear()
        await self._ask(inside, users)

    async def ready(self, prompts: list[Prompt]) -> None:
        """Checks that the tools of these prompts are available, before anything is bought. Raises InputError."""
        await self.sandboxes.ready(prompts)
        await _all_of([source.ready(prompts) for source in self._sources])

    async def check_alive(self) -> None:
        """Checks that what this run has used is still there: the container engine, and servers. Raises InputError."""
        await self.sandboxes.check_engine()
        await _all_of([source.check_alive() for source in self._sources])

    async def close(self) -> None:
        """Closes what rollouts share."""
        for source in self._sources:
            await source.close()
        await self.sandboxes.close()

    def names(self, prompt: Prompt) -> list[str]:
        """The names of all tools that a row like this may ask for."""
        return [offer.name for _, offer in self._tools(self._groups(prompt))]

    def offered(self, prompt: Prompt) -> Offered:
        """The tools that a prompt is offered: all, or those that its row names."""
        names, groups = prompt.get("tools"), self._groups(prompt)
        key = None if names is None else tuple(names), groups
        if key not in self._offered:
            tools = [tool for tool in self._tools(groups) if names is None or tool[1].name in names]
            schemas = [offer.schema for _, offer in tools]
            self._offered[key] = Offered(
                tools, schemas, content_id(schemas), any(offer.reads_row for _, offer in tools)
            )
        return self._offered[key]

    @asynccontextmanager
    async def open(self, prompt: Prompt, sample: int = 0) -> AsyncIterator[Session]:
        """The tools for one rollout of a prompt. Each is opened when it is first needed, and all are closed at the end."""
        offered = self.offered(prompt).tools
        sources = [source for source, _ in offered]
        resources = RolloutResources(prompt | {"sample": sample}, sources, self.sandboxes, self._places)
        try:
            yield Session(offered, self._limits, resources)
        finally:
            await resources.close()

    async def _ask(self, sources: Sequence[Source], prompts: list[Prompt]) -> None:
        first_of_group = {(source, source.group(prompt)): prompt for prompt in reversed(prompts) for source in sources}

        async def ask(source: Source, group: Hashable, prompt: Prompt) -> None:
            async with self._places:
                self._offers[source, group] = await source.offers(prompt)

        await _all_of([ask(*group, prompt) for group, prompt in first_of_group.items()])

    def _groups(self, prompt: Prompt) -> tuple[Hashable, ...]:
        return tuple(source.group(prompt) for source in self._sources)

    def _tools(self, groups: tuple[Hashable, ...]) -> list[tuple[Source, Offer]]:
        """All tools for prompts of these groups (one group per source)."""
        if groups not in self._tools_by_groups:
            tools = [
                (source, offer)
                for source, group in zip(self._sources, groups, strict=True)
                for offer in self._offers.get((source, group), ())
            ]
            count = Counter(offer.name for _, offer in tools)
            for place, (source, offer) in enumerate(tools):
                if source.prefix and count[offer.name] > 1:
                    tools[place] = source, offer.renamed(f"{source.prefix}_{offer.name}")
            self._tools_by_groups[groups] = tools
        return self._tools_by_groups[groups]


@asynccontextmanager
async def opened(params: Params, prompts: list[Prompt], lists: ToolLists | None = None) -> AsyncIterator[Toolbox]:
    """The toolbox that params.yaml describes, prepared for these prompts; `lists` remembers what servers offer."""
    toolbox = load(params, lists=lists)
    try:
        await toolbox.prepare(prompts)
        yield toolbox
    finally:
        await toolbox.close()


def load(params: Params, tools_file: Path | str = "tools.py", lists: ToolLists | None = None) -> Toolbox:
    """The toolbox that params.yaml describes. Raises InputError with every fault of every tool, as `tools.py:line: …`."""
    agent = params["agent"]
    functions = python_source.load(tools_file)
    sandboxed = {name: tool for name, tool in functions.items() if tool.sandbox}
    local = {name: tool for name, tool in functions.items() if not tool.sandbox}
    container_limits = ContainerLimits(**params.get("tools", {}).get("sandbox", {}))
    sandboxes = Sandboxes(container_limits, tuple(sandboxed))
    sources: list[Source] = [
        PythonTools(Path(tools_file).name, local),
        SandboxTools(Path(tools_file), sandboxed, agent["tool_timeout_s"], sandboxes),
    ]
    for server in servers(params):
        sources.append(McpTools(server, lists))
        if server.on_loopback:
            sources.append(SandboxMcp(server, lists, sandboxes))
    limits = CallLimits(agent["tool_timeout_s"], agent["tool_output_chars"])
    return Toolbox(sources, limits, sandboxes, params["runtime"]["tool_sessions"])


async def _all_of(works: list[Awaitable[None]]) -> None:
    """Awaits them concurrently. Raises InputError with the faults of all, or any other exception of one."""
    errors = [error for error in await asyncio.gather(*works, return_exceptions=True) if error]
    faults = Faults()
    for error in errors:
        with faults.collect():
            raise error
    faults.check()


def _name_faults(names: list[str]) -> list[str]:
    """Faults of the names of the tools that a prompt may get."""
    duplicates = [f"two tools are called '{name}'" for name, count in Counter(names).items() if count > 1]
    return duplicates + [
        f"the name '{name}' has more than {arguments.LONGEST_NAME} characters: put that tool under deny, or give its server a"
        " shorter name"
        for name in names
        if len(name) > arguments.LONGEST_NAME
    ]
