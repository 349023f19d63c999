"""What a value may be by its JSON Schema, in a few words."""

import json
from typing import Any

ANYTHING = "anything"
MOST_REFERENCES, MOST_LEVELS = 3, 20
"""Within each other, that are followed: definitions that name each other would give more words than anybody can read."""


def kind(schema: Any, root: Any, within: tuple[str, ...] = (), level: int = 0) -> str:
    """What a value may be: `list of "red" | "blue"`. `root` is the schema that holds this one, where its `$ref` lead.

    `within`: the references that were followed to get here; one of them is called by its name, and so are those that
    lead nowhere or too far. `level`: of this schema in the others.
    """
    if not isinstance(schema, dict) or level > MOST_LEVELS:  # servers may say `true`
        return ANYTHING
    if "enum" in schema or "const" in schema:
        values = schema["enum"] if "enum" in schema else [schema["const"]]
        return " | ".join(json.dumps(value, ensure_ascii=False) for value in values)
    if isinstance(pointer := schema.get("$ref"), str):
        too_far = pointer in within or len(within) == MOST_REFERENCES
        target = None if too_far else resolved(pointer, root)
        return pointer.rpartition("/")[2] if target is None else kind(target, root, (*within, pointer), level + 1)
    if "type" in schema or "properties" in schema:
        types = schema.get("type", "object")
        types = [types] if isinstance(types, str) else types
        return " | ".join(_of_type(one, schema, root, within, level + 1) for one in types)
    for keyword, between in (("anyOf", " | "), ("oneOf", " | "), ("allOf", " & ")):
        if choices := schema.get(keyword):
            return between.join(dict.fromkeys(kind(choice, root, within, level + 1) for choice in choices))
    return ANYTHING


def resolved(pointer: str, root: Any) -> Any:
    """The schema that a `$ref` within `root` names, such as `#/$defs/Color`; None where there is none."""
    for step in steps(pointer):
        root = root.get(step) if isinstance(root, dict) else None
    return root if pointer.startswith("#") else None


def steps(pointer: str) -> tuple[str, ...]:
    """The keys on the way from the root to what a `$ref` names."""
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:])


def _of_type(name: str, schema: dict[str, Any], root: Any, within: tuple[str, ...], level: int) -> str:
    if name == "object" and schema.get("properties"):
        fields = (f"{name}: {kind(field, root, within, level)}" for name, field in schema["properties"].items())
        return f"{{{', '.join(fields)}}}"
    if name == "object" and isinstance(values := schema.get("additionalProperties"), dict) and values:
        return f"object of {kind(values, root, within, level)}"
    if name == "array":
        items = kind(schema.get("items"), root, within, level)
        return f"list of {items}"
    return name
