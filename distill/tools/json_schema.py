"""A pydantic schema as a model reads it best: one piece, nothing that says nothing, nothing that is silently ignored."""

from typing import Any

NAMED = ("properties", "$defs", "patternProperties")
"""Keywords whose value has names of the user's for keys, and schemas below them."""
VALUES = ("default", "const", "enum", "examples")
"""Keywords whose value is data."""
POINTER = "#/$defs/"


def plain(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without titles (pydantic's are the fields' names again, and a model pays tokens for them), with each
    definition in the place where it is used (but for those that hold themselves), and with objects that take only the
    fields that they name: what would be ignored is a mistake that its maker should hear of.
    """
    definitions = schema.get("$defs", {})
    uses = {name: _uses(definition) for name, definition in definitions.items()}
    kept = {name for name in definitions if _reaches(name, name, uses)}
    made = _plain(schema, {name: definitions[name] for name in definitions if name not in kept})
    if kept:
        inside = {name: definition for name, definition in definitions.items() if name not in kept}
        made["$defs"] = {name: _plain(definitions[name], inside) for name in definitions if name in kept}
    return made


def _plain(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_plain(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    target = str(node.get("$ref", "")).removeprefix(POINTER)
    if target in definitions:
        return _plain(definitions[target] | {key: node[key] for key in node if key != "$ref"}, definitions)
    made: dict[str, Any] = {}
    for key, value in node.items():
        if key in NAMED:
            if key != "$defs":
                made[key] = {name: _plain(inner, definitions) for name, inner in value.items()}
        elif key in VALUES:
            made[key] = value
        elif key not in ("title", "discriminator"):  # OpenAPI's, and it points at what is no longer there
            made[key] = _plain(value, definitions)
    if made.get("properties") is not None:
        made.setdefault("additionalProperties", False)
    return made


def _uses(node: Any) -> set[str]:
    if isinstance(node, list):
        return {name for item in node for name in _uses(item)}
    if not isinstance(node, dict):
        return set()
    found = set[str]()
    for key, value in node.items():
        if key not in VALUES:
            found |= _uses(list(value.values()) if key in NAMED else value)
    pointer = node.get("$ref")
    return found | ({pointer.removeprefix(POINTER)} if isinstance(pointer, str) else set())


def _reaches(start: str, goal: str, uses: dict[str, set[str]]) -> bool:
    todo, seen = list(uses[start]), set[str]()
    while todo:
        name = todo.pop()
        if name == goal:
            return True
        if name not in seen:
            seen.add(name)
            todo += uses.get(name, ())
    return False
