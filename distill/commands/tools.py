"""`make tools`: the tools as the teacher is offered them, with what MCP servers offer now.

What servers offer is remembered with the answers, so that an update of a server does not make every answer be bought
again unasked; this takes what they offer now in its place.
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


async def shown(settings: Params) -> tuple[str, list[str]]:
    """Every tool that some prompt may be offered: name, origin, description, parameters; and the faults of what
    prompts name. Raises InputError where a source of tools is at fault."""
    prompts = list(jsonl.read(PROMPTS, "prepared_prompt")) if PROMPTS.exists() else []
    lists = ToolLists(Store().root, tools_version(settings), anew=True)
    found: dict[str, str] = {}
    faults: list[str] = []
    naming_none = [{**prompt, "tools": []} for prompt in prompts] or [{"source": "no prompts yet", "tools": []}]
    async with toolbox.opened(settings, naming_none, lists) as tools:
        for prompt in naming_none:
            for source, offer in tools.offered({**prompt, "tools": None}).tools:
                found.setdefault(offer.name, said(source.origin, offer))
        try:
            await tools.prepare(prompts)  # no source is asked again
        except InputError as error:
            faults = error.faults
    none = "no tools: write functions under @tool into tools.py, or name servers in tools.mcp"
    return "\n".join(found.values()) or none, faults


def said(origin: str, offer: Offer) -> str:
    """A tool as lines: its name and parameters, where it is from, what it says of itself, what each value may be."""
    function = offer.schema["function"]
    asked = function["parameters"]
    needed = asked.get("required", [])
    names = ", ".join(name if name in needed else f"[{name}]" for name in asked.get("properties", {}))
    first = (function.get("description") or "no description").strip().splitlines()[0]
    fields = [
        f"      {name}: {', '.join(filter(None, (kind(field, asked), _words(field))))}"
        for name, field in asked.get("properties", {}).items()
    ]
    return "\n".join([f"{offer.name}({names})  from {origin}", f"    {first}", *fields])


def _words(schema: Any) -> str:
    """What a schema says of itself, on one line."""
    return " ".join(str(schema.get("description") or "").split()) if isinstance(schema, dict) else ""


def main(params: Params) -> None:
    """Prints them. Raises InputError for what prompts name and cannot have."""
    text, faults = asyncio.run(shown(params))
    print(text, flush=True)
    if faults:
        raise InputError(faults)


if __name__ == "__main__":
    stage.run(main)
