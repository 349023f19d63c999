"""`make tools`: prints the tools as the teacher is offered them, and updates what MCP servers offer.

The lists of MCP servers are stored with the answers, so that an update of a server does not silently make every answer be
bought again. This command replaces them with what the servers offer now.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

from distill.agent.tools_version import tools_version
from distill.dataset.prompts import seed_rows
from distill.project import stage
from distill.project.terminal import say
from distill.records.faults import Faults, InputError
from distill.records.types import Params
from distill.teacher.store import Store
from distill.tools import toolbox
from distill.tools.mcp.tool_lists import ToolLists
from distill.tools.schema_words import MOST_LEVELS, kind, resolved
from distill.tools.source import Offer


async def listing(settings: Params) -> tuple[str, list[str]]:
    """A description of every tool that some prompt may be offered, and the faults of the tools that prompts name (other
    faults of prompts are for `make validate`). Raises InputError for a source of tools that cannot be read."""
    prompts = [{**row, "source": source} for source, row in seed_rows("data/seed", Faults())]
    lists = ToolLists(Store().root, tools_version(settings), anew=True)
    descriptions: dict[str, str] = {}
    faults: list[str] = []
    naming_none = [{**prompt, "tools": []} for prompt in prompts] or [{"source": "no prompts yet", "tools": []}]
    tools = toolbox.load(settings, lists=lists)
    try:
        tools.sandboxes.check(naming_none)
        await tools.ask(prompts or naming_none)
        for prompt in naming_none:
            for source, offer in tools.offered({**prompt, "tools": None}).tools:
                descriptions.setdefault(offer.name, describe(source.origin, offer))
        try:
            await tools.prepare(prompts)  # the sources have been read and are not asked again
        except InputError as error:
            faults = error.faults
    finally:
        await tools.close()
    none = "no tools: write functions under @tool into tools.py, or name servers in tools.mcp"
    return "\n".join(descriptions.values()) or none, faults


def describe(origin: str, offer: Offer) -> str:
    """A tool in lines: its name and parameters, its origin, its description, and type and description of each parameter
    and of the fields within it."""
    function = offer.schema["function"]
    parameters = function["parameters"]
    required = parameters.get("required", [])
    names = ", ".join(name if name in required else f"[{name}]" for name in parameters.get("properties", {}))
    lines = [f"{offer.name}({names})  from {origin}"]
    lines += [f"    {line}".rstrip() for line in (function.get("description") or "no description").strip().splitlines()]
    seen: set[str] = set()
    for name, field in parameters.get("properties", {}).items():
        said = ", ".join(filter(None, (kind(field, parameters), _description(field))))
        lines += [f"      {name}: {said}", *(f"        {line}" for line in _within(name, field, parameters, seen))]
    return "\n".join(lines)


def _within(path: str, schema: Any, root: Any, seen: set[str], level: int = 0) -> Iterator[str]:
    """What is described inside of a value, as `path.field: description`; the types that `$ref` name only once (`seen`)."""
    if not isinstance(schema, dict) or level > MOST_LEVELS:
        return
    if level and (text := _description(schema)):
        yield f"{path}: {text}"
    inside = [(f"{path}.{name}", field) for name, field in (schema.get("properties") or {}).items()]
    inside += [(path, schema.get(keyword)) for keyword in ("items", "additionalProperties")]
    inside += [(path, choice) for keyword in ("anyOf", "oneOf", "allOf") for choice in schema.get(keyword) or []]
    if isinstance(pointer := schema.get("$ref"), str) and pointer not in seen:
        seen.add(pointer)
        inside.append((path, resolved(pointer, root)))
    for place, part in inside:
        yield from _within(place, part, root, seen, level + 1)


def _description(schema: Any) -> str:
    """The description in a schema, on one line."""
    return " ".join(str(schema.get("description") or "").split()) if isinstance(schema, dict) else ""


def main(params: Params) -> None:
    """Prints the tools. Raises InputError for tools that prompts name and cannot have."""
    text, faults = asyncio.run(listing(params))
    say(text)
    if faults:
        raise InputError(faults)


if __name__ == "__main__":
    stage.no_options(__doc__)
    stage.run(main)
