"""The student sees the tools: the prompt that its template renders names every tool and every parameter, and tells the
type of each, nested ones and those of `$ref` and `anyOf` included.

A template that drops some of it trains a student that cannot know what it may call. Descriptions of parameters are not
looked for: the bundled template for the smallest students leaves them out on purpose.
"""

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import orjson

from distill.dataset.checks.context import CheckContext
from distill.dataset.checks.fault import Fault, listed
from distill.records.types import Row
from distill.student.shown import offered
from distill.student.tokenizer import Tokenizer
from distill.tools.schema_words import resolved, steps

ADVICE = (
    "the student's chat template drops tools, or types of parameters: name another in student.template; "
    "with filter.tools_shown: off the student does without"
)
CHOICES = ("anyOf", "oneOf", "allOf", "prefixItems")
LISTS, TOOLS = 1_024, 65_536
"""Lists of tools, and tools, of which it is remembered what the prompt lacks: rows have few lists, or draw on few tools."""

Path = tuple[str | int, ...]


def check(row: Row, context: CheckContext) -> Fault | None:
    if not row["tools"] or context.tokenizer is None:
        return None
    try:
        faults = _unseen(orjson.dumps(row["tools"]), context.tokenizer)
    except (RecursionError, orjson.JSONEncodeError):
        return Fault("the schema of a tool is nested too deeply", ("/tools",))
    return listed(faults) if faults else None


@lru_cache(maxsize=LISTS)
def _unseen(tools: bytes, tokenizer: Tokenizer) -> list[tuple[str, str]]:
    """What the prompt lacks of each tool (as JSON) that it does not show whole, with the JSON pointer of the tool."""
    offers = orjson.loads(tools)
    text = offered(offers, tokenizer)
    if text is None:  # where the template cannot render the row at all, the check `length` reports it
        return []
    faults = []
    for number, tool in enumerate(offers):
        function = tool["function"]
        names = [function["name"], *(function["parameters"].get("properties") or ())]
        missing = [name for name in names if name not in text and json.dumps(name)[1:-1] not in text]
        if missing:
            faults.append((f"/tools/{number}", f"the rendered prompt lacks {', '.join(missing)}"))
        elif json.dumps(function["parameters"], ensure_ascii=False) not in text and (
            untold := _untold(orjson.dumps(tool), tokenizer)
        ):
            faults.append((f"/tools/{number}", f"the rendered prompt lacks the type of {', '.join(untold)}"))
    return faults


@lru_cache(maxsize=TOOLS)
def _untold(tool_text: bytes, tokenizer: Tokenizer) -> list[str]:
    """The parameters of a tool (as JSON) whose type, or a part of it, may be another and the prompt stays the same; of one
    whose values are listed, the keyword that lists them, since Gemma 4's template shows the type and drops that."""
    tool = orjson.loads(tool_text)
    shown, function = offered([tool], tokenizer), tool["function"]
    if shown is None:
        return []
    parameters = function["parameters"]
    untold = {
        name if path[-1] == "type" else f"{name} (its {path[-1]})": None
        for name, path in _types(parameters, (), "", parameters, set())
        if shown == offered([{**tool, "function": {**function, "parameters": _changed(parameters, path)}}], tokenizer)
    }
    return list(untold)


def _types(schema: Any, path: Path, name: str, root: Any, seen: set[str]) -> Iterator[tuple[str, Path]]:
    """(name of the parameter, path from the root) of each keyword that says what a value may be. `seen`: the references
    that were followed; each is followed once, since what it names is changed for all who refer to it."""
    if not isinstance(schema, dict):
        return
    for keyword in ("enum", "const"):
        if keyword in schema:
            yield name, (*path, keyword)
            return
    inner = [(name, (*path, keyword), schema.get(keyword)) for keyword in ("items", "additionalProperties")]
    for field, value in (schema.get("properties") or {}).items():
        inner.append((f"{name}.{field}".lstrip("."), (*path, "properties", field), value))
    for keyword in CHOICES:
        inner += [(name, (*path, keyword, place), choice) for place, choice in enumerate(schema.get(keyword) or ())]
    if isinstance(pointer := schema.get("$ref"), str) and pointer not in seen:
        seen.add(pointer)
        inner.append((name, steps(pointer), resolved(pointer, root)))
    found = [type_ for called, where, value in inner for type_ in _types(value, where, called, root, seen)]
    if not found and name and schema.get("type", "null") != "null":
        found = [(name, (*path, "type"))]
    yield from found


def _changed(schema: Any, path: Path) -> Any:
    """The schema with another value for the keyword at the path."""
    key, *rest = path
    copy = schema.copy()
    copy[key] = _changed(schema[key], tuple(rest)) if rest else _other(key, schema[key])
    return copy


def _other(keyword: str | int, value: Any) -> Any:
    if keyword == "type":
        other = "string" if "boolean" in value else "boolean"
        return other if isinstance(value, str) else [one if one == "null" else other for one in value]
    other = "another" if value in ("other", ["other"]) else "other"
    return [other] if keyword == "enum" else other
