"""`make tools`: prints the tools as the teacher is offered them, and updates what MCP servers offer.

The lists of MCP servers are stored with the answers, so that an update of a server does not silently make every answer be
bought again. This command replaces them with what the servers offer now.
"""

import asyncio
from pathlib import Path
from typing import Any

from distill.agent.tools_version import tools_version
from distill.records import jsonl, stage
from distill.records.faults import InputError
from distill.records.types import Params
from distill.teacher.store import Store
from distill.tools import toolbox
from distill.tools.schema_words import kind
from distill.tools.source import Offer
from distill.tools.tool_lists import ToolLists

PROMPTS = Path("data/prompts.jsonl")


async def listing(settings: Params) -> tuple[str, list[str]]:
    """A description of every tool that some prompt may be offered, and the faults of the tools that prompts name. Raises
    InputError for a source of tools that cannot be read."""
    prompts = list(jsonl.read(PROMPTS, "prepared_prompt")) if PROMPTS.exists() else []
    lists = ToolLists(Store().root, tools_version(settings), anew=True)
    descriptions: dict[str, str] = {}
    faults: list[str] = []
    naming_none = [{**prompt, "tools": []} for prompt in prompts] or [{"source": "no prompts yet", "tools": []}]
    async with toolbox.opened(settings, naming_none, lists) as tools:
        for prompt in naming_none:
            for source, offer in tools.offered({**prompt, "tools": None}).tools:
                descriptions.setdefault(offer.name, describe(source.origin, offer))
        try:
            await tools.prepare(prompts)  # the sources have been read and are not asked again
        except InputError as error:
            faults = error.faults
    none = "no tools: write functions under @tool into tools.py, or name servers in tools.mcp"
    return "\n".join(descriptions.values()) or none, faults


def describe(origin: str, offer: Offer) -> str:
    """A tool in lines: its name and parameters, its origin, its description, and the type of each parameter."""
    function = offer.schema["function"]
    parameters = function["parameters"]
    required = parameters.get("required", [])
    names = ", ".join(name if name in required else f"[{name}]" for name in parameters.get("properties", {}))
    summary = (function.get("description") or "no description").strip().splitlines()[0]
    fields = [
        f"      {name}: {', '.join(filter(None, (kind(field, parameters), _description(field))))}"
        for name, field in parameters.get("properties", {}).items()
    ]
    return "\n".join([f"{offer.name}({names})  from {origin}", f"    {summary}", *fields])


def _description(schema: Any) -> str:
    """The description in a schema, on one line."""
    return " ".join(str(schema.get("description") or "").split()) if isinstance(schema, dict) else ""


def main(params: Params) -> None:
    """Prints the tools. Raises InputError for tools that prompts name and cannot have."""
    text, faults = asyncio.run(listing(params))
    print(text, flush=True)
    if faults:
        raise InputError(faults)


if __name__ == "__main__":
    stage.run(main)
