"""Validates records against their JSON Schemas, which are compiled once; every fault has its JSON pointer."""

import difflib
import json
from functools import cache
from typing import Any

import jsonschema_rs
import orjson

from distill.records.paths import PROJECT

SHARED = "conversation"
LONGEST_MESSAGE = 300
MOST_NAMED = 50
"""Allowed values that a message lists."""


def load(name: str) -> dict[str, Any]:
    """The schema `schemas/<name>.schema.json`."""
    return orjson.loads((PROJECT / "schemas" / f"{name}.schema.json").read_bytes())


@cache
def _validator(name: str) -> Any:
    shared = [(f"json-schema:///{SHARED}.schema.json", load(SHARED))]
    return jsonschema_rs.validator_for(
        load(name), registry=jsonschema_rs.Registry(shared), pattern_options=jsonschema_rs.RegexOptions()
    )


def faults(name: str, record: Any) -> list[str]:
    """Every fault of `record` against schema `name`, as `/pointer: message`; empty when it is valid."""
    validator = _validator(name)
    if validator.is_valid(record):
        return []
    return [_line(error, name) for error in validator.iter_errors(record)]


def described(error: Any) -> str:
    """The message of a jsonschema_rs error; for a value outside an enum with up to MOST_NAMED of the allowed ones, where
    jsonschema_rs names only two."""
    options = getattr(error.kind, "options", None)
    if not options or len(options) > MOST_NAMED:
        return error.message
    given, *named = (json.dumps(value, ensure_ascii=False) for value in (error.instance, *options))
    return f"{given} is not one of {', '.join(named)}"


def _line(error: Any, name: str) -> str:
    pointer = "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in error.instance_path)
    message = _message(error, name)
    if len(message) > LONGEST_MESSAGE:
        message = message[:LONGEST_MESSAGE] + "…"
    return f"{pointer or '/'}: {message}"


def _message(error: Any, name: str) -> str:
    """What is wrong, in words."""
    keyword, around = error.schema_path[-1], error.schema_path[:-1]
    if unexpected := getattr(error.kind, "unexpected", None):
        known = _at(name, around).get("properties", {})  # beside `additionalProperties`
        return "; ".join(_unknown(key, known) for key in unexpected)
    if keys := _one_of_keys(name, error.schema_path):
        if given := [f"'{key}'" for key in keys if key in error.instance]:
            return f"has {' and '.join(given)}, which exclude each other"
        return "needs " + " or ".join(f"'{key}'" for key in keys)
    message = described(error)
    if keyword == "not":
        message = f"{json.dumps(error.instance, ensure_ascii=False)} is not allowed"
    rule = _at(name, around).get("description") if keyword in ("not", "pattern") else None
    return f"{message} ({rule})" if rule else message


def _unknown(key: str, known: dict[str, Any]) -> str:
    """That `known`, the properties of an object, do not have the key, with the one that is meant."""
    for home, inner in known.items():
        if key in _resolved(inner).get("properties", {}):
            return f"unknown key '{key}': it belongs under {home}"
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"unknown key '{key}'" + (f", did you mean '{near[0]}'?" if near else "")


def _resolved(node: dict[str, Any]) -> dict[str, Any]:
    """The schema itself, or the shared one that it refers to."""
    pointer = node.get("$ref", "").partition("#/$defs/")[2]
    return load(SHARED)["$defs"].get(pointer, {}) if pointer else node


def _one_of_keys(name: str, steps: list[str | int]) -> list[str]:
    """The keys of which a record needs exactly one, if `steps` lead to a `oneOf` that says only that; else none."""
    if steps[-1] != "oneOf":
        return []
    branches = _at(name, steps)
    keys = [branch["required"][0] for branch in branches if len(branch.get("required", ())) == 1 == len(branch)]
    return keys if len(keys) == len(branches) else []


def _at(name: str, steps: list[str | int]) -> Any:
    node: Any = load(name)
    if list(steps[:1]) == ["$defs"] and steps[1] not in node.get("$defs", {}):
        node = load(SHARED)
    for step in steps:
        node = node[step]
    return node
