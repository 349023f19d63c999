"""`@tool`: makes a tool of a plain or async Python function, with a JSON schema from its type hints and docstring."""

import difflib
import inspect
import re
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import docstring_parser

from distill.records.faults import Faults
from distill.records.types import ToolSchema
from distill.tools.python.json_schema import plain
from distill.tools.python.python_parameters import Parameters, parameters

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""The names of tools that the APIs accept."""


@dataclass(frozen=True)
class Tool:
    """A tool: what the model is offered (`schema`, OpenAI's form) and what runs (`function`)."""

    name: str
    schema: ToolSchema
    function: Callable[..., Any]
    parameters: Parameters
    timeout_s: float | None
    sandbox: bool = False


class Marked(NamedTuple):
    """A thing under `@tool`, and where it is."""

    thing: Any
    file: str
    line: int


MARKED: list[Marked] = []
"""Everything marked in this process, in order: also what is not a function, or is hidden by another of its name."""


def tool(function: Callable[..., Any] | None = None, *, timeout: float | None = None, sandbox: bool = False) -> Any:
    """Marks a function as a tool: `@tool`, `@tool(timeout=5)` to give it its own time limit in seconds, or
    `@tool(sandbox=True)` to run it inside the container of the row's `docker`.

    The docstring's first part is the tool's description; its `Args:` describe the parameters. A parameter of the type
    `Context` or `State` is filled in and hidden from the model. The function stays callable as before. What cannot be
    offered to a model is refused when tools.py is loaded.
    """
    if function is not None and not callable(function):
        raise TypeError(
            f"@tool({function!r:.60}): a tool is called as its function is; write `@tool` or `@tool(timeout=5)` above `def`, "
            "without a decorator that makes something else of the function"
        )
    caller = sys._getframe(1)
    where = caller.f_code.co_filename, caller.f_lineno

    def mark(marked: Callable[..., Any]) -> Callable[..., Any]:
        MARKED.append(Marked(marked, *where))
        if is_function(marked):
            marked.__distill_tool__ = {"timeout_s": timeout, "sandbox": sandbox}  # type: ignore[attr-defined]
        return marked

    return mark if function is None else mark(function)


def is_function(thing: Any) -> bool:
    """Whether a thing is a named function, perhaps under decorators that keep the name (`functools.wraps`, `cache`)."""
    return inspect.isfunction(bare(thing)) and bare(thing).__name__ != "<lambda>" and hasattr(thing, "__name__")


def bare(thing: Any) -> Any:
    """The thing without its decorators."""
    return inspect.unwrap(thing) if callable(thing) else thing


def build(function: Callable[..., Any]) -> Tool:
    """The Tool of a function under `@tool`.

    Raises InputError with every fault: a name that the APIs refuse, no docstring, an invalid time limit, a parameter
    without a type hint or of a type without a JSON form, `*args` or `**kwargs`.
    """
    name, marked = function.__name__, function.__distill_tool__  # type: ignore[attr-defined]
    timeout_s = marked["timeout_s"]
    documentation = docstring_parser.parse(function.__doc__ or "")
    text = "\n\n".join(part for part in (documentation.short_description, documentation.long_description) if part)
    faults = Faults()
    if not NAME.fullmatch(name):
        faults.add("a name has up to 64 letters (a-z), digits, _ and -")
    if not text:
        faults.add("it has no docstring; the model needs one to know what it does")
    if timeout_s is not None and (type(timeout_s) not in (int, float) or not 0 < timeout_s < float("inf")):
        faults.add(f"timeout={timeout_s!r} is not a number of seconds above 0")
    if inspect.isgeneratorfunction(bare(function)) or inspect.isasyncgenfunction(bare(function)):
        faults.add("it yields; a tool returns its result")
    faults.add(*_misspelled(documentation, inspect.signature(function).parameters))
    with faults.collect():
        taken = parameters(function, _described(documentation))
        if taken.state and marked["sandbox"]:
            faults.add("a State is not known in the sandbox; keep what must last in a file there")
    faults.check()
    arguments = plain(taken.model.model_json_schema())
    arguments.setdefault("properties", {})
    schema = {"type": "function", "function": {"name": name, "description": text, "parameters": arguments}}
    return Tool(name, schema, function, taken, timeout_s, marked["sandbox"])


def _described(documentation: docstring_parser.Docstring) -> dict[str, str | None]:
    """The docstring's description of each parameter; numpy's style may describe several at once."""
    entries = [entry for entry in documentation.params if entry.args[0] != "attribute"]
    return {name.strip(" *"): entry.description for entry in entries for name in entry.arg_name.split(",")}


def _misspelled(documentation: docstring_parser.Docstring, names: Collection[str]) -> list[str]:
    """Faults for names in the docstring that are close to parameters without a description, since the model would not
    read what they say. Anything else that a docstring may have under `Args:` is allowed."""
    described = _described(documentation)
    undescribed = [name for name in names if name not in described]
    close = {name: difflib.get_close_matches(name, undescribed, n=1) for name in described if name not in names}
    return [
        f"its docstring describes '{name}', which is not a parameter; did you mean '{matches[0]}'?"
        for name, matches in close.items()
        if matches
    ]


def place(function: Callable[..., Any]) -> str:
    """Where a function begins, as `tools.py:12`."""
    code = bare(function).__code__
    return f"{Path(code.co_filename).name}:{code.co_firstlineno}"
