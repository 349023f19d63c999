"""Which tools OpenAI can hold a model to: its `strict` mode takes a part of JSON Schema only.

A schema that is in that part as it stands is sent as strict, so that no argument can be wrong; any other is sent as it
is. None is bent to fit: an optional argument that had to be given as null would be another tool, and the student would
learn it. The part (as of 2026): every object names all its fields, requires them and takes no other; no defaults, no
formats or limits (models that were fine-tuned refuse these); ten levels.
"""

from typing import Any

PLAIN = {"string", "number", "integer", "boolean", "null"}
ANYWHERE = {"type", "description", "enum"}
DEPTH = 10
MOST_CHOICES = 250


def strict(parameters: dict[str, Any]) -> bool:
    """Whether the arguments of a tool with this schema can be guaranteed."""
    return parameters.get("type") == "object" and _fits(parameters, DEPTH)


def _fits(schema: Any, depth: int) -> bool:
    if not isinstance(schema, dict) or not depth or len(schema.get("enum", ())) > MOST_CHOICES:
        return False
    kind = schema.get("type")
    if "anyOf" in schema:
        return schema.keys() <= {"anyOf", "description"} and all(_fits(one, depth) for one in schema["anyOf"])
    if kind == "object":
        inner = schema.get("properties", {})
        closed = schema.get("additionalProperties") is False and set(schema.get("required", ())) == set(inner)
        known = schema.keys() <= ANYWHERE | {"properties", "required", "additionalProperties"}
        return closed and known and all(_fits(one, depth - 1) for one in inner.values())
    if kind == "array":
        return schema.keys() <= ANYWHERE | {"items"} and _fits(schema.get("items"), depth - 1)
    kinds = kind if isinstance(kind, list) else [kind]
    return schema.keys() <= ANYWHERE | {"const"} and set(kinds) <= PLAIN
