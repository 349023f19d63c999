"""Checks whether a tool accepts a call; the agent loop, the filter and the evaluation use the same check."""

import difflib
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from typing import Any

import jsonschema_rs
import orjson

from distill.records.one_line import one_line
from distill.records.schema import described
from distill.records.types import ToolCall, ToolSchema
from distill.tools import schema_choices

LONG_NUMBER = re.compile(r"[0-9]{19}")
NO_PARAMETERS = {"type": "object", "properties": {}}
"""The JSON Schema of the arguments of a tool that takes none."""
TYPES = "array, boolean, integer, null, number, object and string"
MOST_SHOWN = 3
"""Faults of a call, or names of tools, that the model reads."""
MOST_NAMED = 20
"""Tools that are all named where another is asked for; of more, those with a like name."""
LONGEST_NAME = 64
"""The most characters that OpenAI accepts in the name of a function. A longer one would take long to compare."""


def parse(call: ToolCall, tools: list[ToolSchema]) -> tuple[dict[str, Any], str | None]:
    """The arguments of a tool call as a dict, and what is wrong with the call (None when it is valid).

    `call` is OpenAI's form with raw argument text, `tools` the schemas that were offered. The fault is written for
    the model, which may repair its call.
    """
    name, text = call["function"]["name"], call["function"]["arguments"] or "{}"
    offered = None
    for tool in tools:
        if (function := tool["function"])["name"] == name:
            offered = function
    if offered is None:
        return {}, unknown(name, list(dict.fromkeys(tool["function"]["name"] for tool in tools)))
    try:
        arguments = orjson.loads(text)
        if LONG_NUMBER.search(text):  # orjson makes a float of an integer of more than 64 bits
            with suppress(ValueError, RecursionError):
                arguments = json.loads(text)
    except orjson.JSONDecodeError as error:
        return {}, f"the arguments are not valid JSON: {error}"
    if not isinstance(arguments, dict):
        return {}, "the arguments must be a JSON object"
    try:
        validator = _validator(orjson.dumps(offered["parameters"]))
        errors = [] if validator.is_valid(arguments) else list(validator.iter_errors(arguments))
    except ValueError as error:
        return arguments, f"the schema of '{name}' is not a valid JSON Schema: {_why(error)}"
    if errors:
        reasons = (reason for error in errors for reason in _reasons(error))
        shown = "; ".join(islice(reasons, MOST_SHOWN))
        return arguments, f"the arguments do not fit the tool's schema: {shown}"
    return arguments, None


def unknown(name: str, names: list[str]) -> str:
    """That there is no such tool, with the names of the others, of many those only that contain it or are like it: a model
    reads this in every turn that follows, and a project may have hundreds of rows that name one."""
    if len(names) <= MOST_NAMED:
        return f"there is no tool '{name}'; the tools are: {', '.join(names) or 'none'}"
    said = name[:LONGEST_NAME]
    longer = [known for known in names if said.casefold() in known.casefold()]
    alike = longer[:MOST_SHOWN] or difflib.get_close_matches(said, names)
    return f"there is no tool '{name}'; there are {len(names)}{', such as ' if alike else ''}{', '.join(alike)}"


def schema_fault(parameters: dict[str, Any]) -> str | None:
    """Why a schema cannot be used for arguments; None when it can. One that refers to another file cannot."""
    try:
        _validator(orjson.dumps(parameters))
    except ValueError as error:
        return _why(error)
    return None if parameters.get("type") == "object" else "its type is not object"


@lru_cache(maxsize=4096)
def _validator(schema: bytes) -> Any:
    parsed = orjson.loads(schema)
    if schema_choices.too_many(parsed):
        raise ValueError(
            f"its parts name each other so often that one value is compared with more than {schema_choices.MOST} of them"
        )
    return jsonschema_rs.validator_for(parsed, offline=True)  # no schema may cause a download


def _why(error: ValueError) -> str:
    """Why a schema is none: where and what, as of arguments that do not fit."""
    if not isinstance(error, jsonschema_rs.ValidationError):
        return one_line(error)
    if list(error.schema_path)[-2:] == ["type", "anyOf"]:  # the library tells of an anyOf that nobody has written
        return (
            f"/{'/'.join(map(str, error.instance_path))}: {json.dumps(error.instance)} is not a type; there are {TYPES}"
        )
    return _describe(error)


def _reasons(error: Any) -> Iterator[str]:
    """What is wrong, in words. Of a value that fits none of several schemas, as in `Filter | None`, what is wrong with it by
    the only one that is for its type, since a model can repair that."""
    choices = error.kind.context if error.kind.name == "anyOf" else []
    types = [_types(error, choice) for choice in choices]
    likely = [choice for choice, wanted in zip(choices, types, strict=True) if not wanted]
    if len(likely) == 1:
        for inner in likely[0]:
            yield from _reasons(inner)
    elif choices and not likely:
        wanted = " or ".join(dict.fromkeys(f'"{name}"' for names in types for name in names))
        yield _at(error, f"{json.dumps(error.instance, ensure_ascii=False)} is not of type {wanted}")
    else:
        yield _describe(error)


def _types(error: Any, choice: list[Any]) -> list[str]:
    """The types that a choice wants the value of `error` to have, where it has another; else none."""
    own = (inner for inner in choice if inner.schema_path[-1] == "type" and inner.instance_path == error.instance_path)
    return next((inner.kind.types for inner in own), [])


def _describe(error: Any) -> str:
    return _at(error, described(error))


def _at(error: Any, words: str) -> str:
    place = "".join(f"/{step}" for step in error.instance_path)
    return f"{place}: {words}" if place else words
