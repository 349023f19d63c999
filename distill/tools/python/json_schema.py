"""Simplifies a pydantic schema for a model: definitions inlined, titles removed, unknown fields forbidden."""

import json
from typing import Any

NAMED = ("properties", "$defs", "patternProperties")
"""Keywords whose value maps the user's names to schemas."""
VALUES = ("default", "const", "enum", "examples")
"""Keywords whose value is data, not a schema."""
POINTER = "#/$defs/"


def plain(schema: dict[str, Any]) -> dict[str, Any]:
    """The simplified schema.

    Titles go, since pydantic's only repeat the fields' names and cost tokens. Each definition moves to where it is used,
    except recursive ones. Objects accept only the fields that they name: a model should hear of a misspelled one.
    """
    definitions = schema.get("$defs", {})
    uses = {name: _uses(definition) for name, definition in definitions.items()}
    for _ in range(len(definitions).bit_length()):  # also what is referred to through others, each time twice as far
        uses = {name: used.union(*(uses.get(other, ()) for other in used)) for name, used in uses.items()}
    recursive = {name for name, used in uses.items() if name in used}
    inlined = {name: definition for name, definition in definitions.items() if name not in recursive}
    result = _plain(schema, inlined)
    if recursive:
        result["$defs"] = {name: _plain(definitions[name], inlined) for name in definitions if name in recursive}
    return result


def _plain(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_plain(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    target = str(node.get("$ref", "")).removeprefix(POINTER)
    if target in definitions:
        return _plain(definitions[target] | {key: node[key] for key in node if key != "$ref"}, definitions)
    result: dict[str, Any] = {}
    for key, value in node.items():
        if key in NAMED:
            if key != "$defs":
                result[key] = {name: _plain(inner, definitions) for name, inner in value.items()}
        elif key in VALUES:
            if _is_json(value):
                result[key] = value
        elif key not in ("title", "discriminator"):  # OpenAPI's discriminator refers to the definitions, which are gone
            result[key] = _plain(value, definitions)
    if result.get("properties") is not None:
        result.setdefault("additionalProperties", False)
    return result


def _is_json(value: Any) -> bool:
    """Whether JSON has a word for a default: it has none for infinity, and each library would write another."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


def _uses(node: Any) -> set[str]:
    """The names of the definitions that a schema refers to."""
    if isinstance(node, list):
        return {name for item in node for name in _uses(item)}
    if not isinstance(node, dict):
        return set()
    names = set[str]()
    for key, value in node.items():
        if key not in VALUES:
            names |= _uses(list(value.values()) if key in NAMED else value)
    pointer = node.get("$ref")
    return names | ({pointer.removeprefix(POINTER)} if isinstance(pointer, str) else set())
