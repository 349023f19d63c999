"""How many schemas a value may be compared with by a JSON Schema. Definitions that name each other twice double that at each
level, and to say what is wrong with a value then takes minutes, in which all rollouts wait."""

from typing import Any

from distill.tools.schema_words import resolved

MOST = 5_000
"""A value that fits none of so many is told so in half a second; tools that people wrote have some hundreds at most."""
LISTS, SINGLE = ("anyOf", "oneOf", "allOf"), ("not", "if", "then", "else")
"""Keywords whose schemas are for the same value."""


def too_many(schema: Any) -> bool:
    """Whether any value in what a schema describes is compared with more than MOST schemas."""
    counts: dict[str, int] = {}
    todo = [schema]
    try:
        while todo:
            node = todo.pop()
            if isinstance(node, dict):
                if _count(node, schema, counts) > MOST:
                    return True
                todo += node.values()
            elif isinstance(node, list):
                todo += node
    except RecursionError:
        return True
    return False


def _count(node: Any, root: Any, counts: dict[str, int]) -> int:
    """The schemas that a value is compared with at `node`. `counts`: those behind each reference; while one is followed it
    counts as nothing, since the library does not go in circles either."""
    if not isinstance(node, dict):
        return 0
    choices = [choice for keyword in LISTS if isinstance(node.get(keyword), list) for choice in node[keyword]]
    count = 1 + sum(_count(choice, root, counts) for choice in [*choices, *map(node.get, SINGLE)])
    if isinstance(pointer := node.get("$ref"), str):
        if pointer not in counts:
            counts[pointer] = 0
            counts[pointer] = _count(resolved(pointer, root), root, counts)
        count += counts[pointer]
    return count
