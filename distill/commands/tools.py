"""`make tools`: the tools as the teacher is offered them, with what MCP servers offer now.

What servers offer is remembered with the answers, so that an update of a server does not make every answer be bought
again unasked; this takes what they offer now in its place.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

from distill.agent.tools_version import tools_version
from distill.records import jsonl, stage
from distill.teacher.store import Store
from distill.tools import toolbox
from distill.tools.source import Offer
from distill.tools.tool_lists import ToolLists

PROMPTS = Path("data/prompts.jsonl")


async def shown(settings: dict[str, Any]) -> str:
    """Every tool that some prompt is offered: name, origin, description, parameters. Raises InputError."""
    prompts = list(jsonl.read(PROMPTS, "prepared_prompt")) if PROMPTS.exists() else []
    lists = ToolLists(Store().root, tools_version(settings), anew=True)
    found: dict[str, str] = {}
    async with toolbox.opened(settings, prompts or [{"source": "no prompts yet", "tools": []}], lists) as tools:
        for prompt in prompts or [{}]:
            for source, offer in tools.offered({**prompt, "tools": None}).tools:
                found.setdefault(offer.name, said(source.origin, offer))
    return (
        "\n".join(found.values()) or "no tools: write functions under @tool into tools.py, or name servers in tools.mcp"
    )


def said(origin: str, offer: Offer) -> str:
    """A tool as lines: its name and parameters, where it is from, what it says of itself, what each value may be."""
    function = offer.schema["function"]
    asked = function["parameters"]
    needed = asked.get("required", [])
    names = ", ".join(name if name in needed else f"[{name}]" for name in asked.get("properties", {}))
    first = (function.get("description") or "no description").strip().splitlines()[0]
    fields = [
        f"      {name}: {', '.join(filter(None, (_kind(field), _words(field))))}"
        for name, field in asked.get("properties", {}).items()
    ]
    return "\n".join([f"{offer.name}({names})  from {origin}", f"    {first}", *fields])


def _words(schema: Any) -> str:
    """What a schema says of itself, on one line."""
    return " ".join(str(schema.get("description") or "").split()) if isinstance(schema, dict) else ""


def _kind(schema: Any) -> str:
    """What a value may be, in a few words."""
    if not isinstance(schema, dict):  # servers may say `true`
        return "anything"
    if "enum" in schema:
        return " | ".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " | ".join(map(_kind, choices))
    if "properties" in schema:
        return f"{{{', '.join(f'{name}: {_kind(field)}' for name, field in schema['properties'].items())}}}"
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items') or {})}"
    kind = schema.get("type") or "anything"
    return kind if isinstance(kind, str) else " | ".join(kind)


def main(params: dict[str, Any]) -> None:
    """Prints them."""
    print(asyncio.run(shown(params)))


if __name__ == "__main__":
    stage.run(main)
