"""Which tools can be sent in OpenAI's `strict` mode, which supports a part of JSON Schema only.

A schema within that part is sent as strict, so that the model's arguments always fit it; any other is sent without. No
schema is changed to fit: an optional argument that the model had to give as null would make another tool, and the student
would learn that one. The part (as of 2026): every object names all its fields, requires them and takes no other; no defaults, no
formats or limits (models that were fine-tuned refuse these); ten levels.
"""

from typing import Any

SCALARS = {"string", "number", "integer", "boolean", "null"}
COMMON_KEYS = {"type", "description", "enum"}
MOST_LEVELS = 10
"""Of nesting."""
MOST_CHOICES = 250
"""Values of one enum."""


def strict(parameters: dict[str, Any]) -> bool:
    """Whether a tool with this schema can be sent as strict."""
    return parameters.get("type") == "object" and _fits(parameters, MOST_LEVELS)


def _fits(schema: Any, levels: int) -> bool:
    if not isinstance(schema, dict) or not levels or len(schema.get("enum", ())) > MOST_CHOICES:
        return False
    kind = schema.get("type")
    if "anyOf" in schema:
        return schema.keys() <= {"anyOf", "description"} and all(_fits(choice, levels) for choice in schema["anyOf"])
    if kind == "object":
        fields = schema.get("properties", {})
        closed = schema.get("additionalProperties") is False and set(schema.get("required", ())) == set(fields)
        supported = schema.keys() <= COMMON_KEYS | {"properties", "required", "additionalProperties"}
        return closed and supported and all(_fits(field, levels - 1) for field in fields.values())
    if kind == "array":
        return schema.keys() <= COMMON_KEYS | {"items"} and _fits(schema.get("items"), levels - 1)
    kinds = kind if isinstance(kind, list) else [kind]
    return schema.keys() <= COMMON_KEYS | {"const"} and set(kinds) <= SCALARS
