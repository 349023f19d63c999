"""A tool as an MCP server lists it: what is remembered of it, and what a model is offered."""

import re
from typing import Any

from distill.project import credentials
from distill.records.types import ToolSchema
from distill.tools import arguments

KNOWN_DIALECTS = ("draft-07/schema", "2020-12/schema")
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")


def remembered(tool: Any) -> dict[str, Any]:
    """What is remembered of a tool in the SDK's form; `reads`: the server says that it changes nothing."""
    hints = tool.annotations
    return {
        "name": tool.name,
        "description": credentials.redact(tool.description or ""),
        "parameters": tool.input_schema,
        "reads": bool(hints and hints.read_only_hint),
    }


def schema(tool: dict[str, Any]) -> ToolSchema:
    """A remembered tool in OpenAI's form. Its name is one that a model can call: dots and slashes become `_`."""
    parameters = {**arguments.NO_PARAMETERS, **tool["parameters"]}
    if str(parameters.get("$schema", "")).rstrip("#").endswith(KNOWN_DIALECTS):
        del parameters["$schema"]  # it would cost tokens in every request, and says nothing
    function = {
        "name": NOT_IN_NAMES.sub("_", tool["name"]),
        "description": tool["description"],
        "parameters": parameters,
    }
    return {"type": "function", "function": function}


def faults(tool: dict[str, Any]) -> list[str]:
    """Why a remembered tool cannot be offered to a model; empty when it can."""
    name = tool["name"]
    fault = arguments.schema_fault(schema(tool)["function"]["parameters"])
    return [f": the schema of its tool '{name}' cannot be used: {fault}; put '{name}' under deny"] if fault else []


def difference(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> str:
    """What changed between two lists of remembered tools, in words."""
    old, new = ({tool["name"]: tool for tool in tools} for tools in (before, now))
    words = [f"new: {name}" for name in new if name not in old] + [f"gone: {name}" for name in old if name not in new]
    words += [f"changed: {name}" for name in old if name in new and old[name] != new[name]]
    return ", ".join(words)
