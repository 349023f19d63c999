"""`@tool`: a plain or async Python function becomes a tool, its JSON schema made from type hints and docstring."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import docstring_parser
from pydantic import BaseModel, ConfigDict, Field, PydanticSchemaGenerationError, create_model

from distill.records.faults import InputError


@dataclass(frozen=True)
class Tool:
    """One tool: what the model is offered (`schema`, OpenAI's form) and what runs (`function`)."""

    name: str
    schema: dict[str, Any]
    function: Callable[..., Any]
    arguments: type[BaseModel]
    timeout_s: float | None
    sandbox: bool = False


def tool(function: Callable[..., Any] | None = None, *, timeout: float | None = None, sandbox: bool = False) -> Any:
    """Marks a function as a tool: `@tool`, `@tool(timeout=5)` to give it its own time limit in seconds, or
    `@tool(sandbox=True)` to run it inside of the container of the row's `docker`.

    The docstring's first part is the tool's description; its `Args:` describe the parameters. The function
    stays callable as before. What cannot be offered to a model is refused when tools.py is loaded.
    """

    def mark(marked: Callable[..., Any]) -> Callable[..., Any]:
        marked.__distill_tool__ = {"timeout_s": timeout, "sandbox": sandbox}  # type: ignore[attr-defined]
        return marked

    return mark if function is None else mark(function)


def build(function: Callable[..., Any]) -> Tool:
    """The Tool of a function under `@tool`.

    Raises InputError with every fault: no docstring, a parameter without a type hint or of a type that JSON
    cannot say, `*args` or `**kwargs`.
    """
    name, where = function.__name__, _where(function)
    documentation = docstring_parser.parse(function.__doc__ or "")
    described = {entry.arg_name: entry.description for entry in documentation.params}
    text = "\n\n".join(part for part in (documentation.short_description, documentation.long_description) if part)
    faults = [] if text else [f"{where}: tool '{name}' has no docstring; the model needs one to know what it does"]
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise InputError([*faults, f"{where}: tool '{name}': {error}"]) from None
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            faults.append(
                f"{where}: tool '{name}': *{parameter.name} cannot be described to a model; name each parameter"
            )
        elif parameter.name not in hints:
            faults.append(f"{where}: tool '{name}': parameter '{parameter.name}' has no type hint")
        else:
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[parameter.name] = (hints[parameter.name], Field(default, description=described.get(parameter.name)))
    if faults:
        raise InputError(faults)
    try:
        arguments = create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
        parameters = _without_titles(arguments.model_json_schema())
    except (PydanticSchemaGenerationError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{where}: tool '{name}' has a parameter that JSON cannot say: {reason}") from None
    parameters.setdefault("properties", {})
    schema = {"type": "function", "function": {"name": name, "description": text, "parameters": parameters}}
    marked = function.__distill_tool__  # type: ignore[attr-defined]
    return Tool(name, schema, function, arguments, marked["timeout_s"], marked["sandbox"])


def _where(function: Callable[..., Any]) -> str:
    code = inspect.unwrap(function).__code__
    return f"{Path(code.co_filename).name}:{code.co_firstlineno}"


def _without_titles(schema: Any) -> Any:
    """pydantic titles every field with its own name; a model pays tokens for it and learns nothing."""
    if isinstance(schema, list):
        return [_without_titles(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if not (key == "title" and isinstance(value, str))}
    return {key: _without_titles(value) for key, value in kept.items()}
