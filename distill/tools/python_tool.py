"""`@tool`: a plain or async Python function becomes a tool, its JSON schema made from type hints and docstring."""

import difflib
import inspect
import re
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import docstring_parser

from distill.records.faults import InputError
from distill.tools.json_schema import plain
from distill.tools.python_parameters import Parameters, parameters

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What the APIs take as the name of a tool."""


@dataclass(frozen=True)
class Tool:
    """One tool: what the model is offered (`schema`, OpenAI's form) and what runs (`function`)."""

    name: str
    schema: dict[str, Any]
    function: Callable[..., Any]
    parameters: Parameters
    timeout_s: float | None
    sandbox: bool = False


class Marked(NamedTuple):
    """What stands under `@tool`, and where."""

    thing: Any
    file: str
    line: int


MARKED: list[Marked] = []
"""Everything that was marked in this process, in order: what is no function, or is hidden by another of its name, is told."""


def tool(function: Callable[..., Any] | None = None, *, timeout: float | None = None, sandbox: bool = False) -> Any:
    """Marks a function as a tool: `@tool`, `@tool(timeout=5)` to give it its own time limit in seconds, or
    `@tool(sandbox=True)` to run it inside of the container of the row's `docker`.

    The docstring's first part is the tool's description; its `Args:` describe the parameters. A parameter of the type
    `Context` is filled in without the model seeing it. The function stays callable as before. What cannot be offered to
    a model is refused when tools.py is loaded.
    """
    if function is not None and not callable(function):
        raise TypeError(
            f"@tool({function!r}): a tool is called as its function is; write `@tool` or `@tool(timeout=5)`"
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
    """Whether a thing is a function with a name, perhaps under decorators that keep it (`functools.wraps`, `cache`)."""
    return inspect.isfunction(bare(thing)) and bare(thing).__name__ != "<lambda>" and hasattr(thing, "__name__")


def bare(thing: Any) -> Any:
    """What is under the decorators."""
    return inspect.unwrap(thing) if callable(thing) else thing


def build(function: Callable[..., Any]) -> Tool:
    """The Tool of a function under `@tool`.

    Raises InputError with every fault: a name that the APIs refuse, no docstring, a time limit that is none, a parameter
    without a type hint or of a type that JSON cannot say, `*args` or `**kwargs`.
    """
    name, marked = function.__name__, function.__distill_tool__  # type: ignore[attr-defined]
    timeout_s = marked["timeout_s"]
    documentation = docstring_parser.parse(function.__doc__ or "")
    text = "\n\n".join(part for part in (documentation.short_description, documentation.long_description) if part)
    faults = []
    if not NAME.fullmatch(name):
        faults.append("a name has up to 64 letters (a-z), digits, _ and -")
    if not text:
        faults.append("it has no docstring; the model needs one to know what it does")
    if timeout_s is not None and (type(timeout_s) not in (int, float) or not 0 < timeout_s < float("inf")):
        faults.append(f"timeout={timeout_s!r} is not a number of seconds above 0")
    if inspect.isgeneratorfunction(bare(function)) or inspect.isasyncgenfunction(bare(function)):
        faults.append("it yields; a tool returns its result")
    faults += _misspelled(documentation, inspect.signature(function).parameters)
    taken = None
    try:
        taken = parameters(function, _described(documentation))
    except InputError as error:
        faults += error.faults
    if faults or taken is None:
        raise InputError(f"{place(function)}: tool '{name}': {fault}" for fault in faults)
    said = plain(taken.model.model_json_schema())
    said.setdefault("properties", {})
    schema = {"type": "function", "function": {"name": name, "description": text, "parameters": said}}
    return Tool(name, schema, function, taken, timeout_s, marked["sandbox"])


def _described(documentation: docstring_parser.Docstring) -> dict[str, str | None]:
    """What the docstring says of each parameter; numpy's style names several at once."""
    entries = [entry for entry in documentation.params if entry.args[0] != "attribute"]
    return {name.strip(" *"): entry.description for entry in entries for name in entry.arg_name.split(",")}


def _misspelled(documentation: docstring_parser.Docstring, names: Collection[str]) -> list[str]:
    """Names in the docstring that are nearly those of parameters without a word: the model would never read what they
    say. Anything else that a docstring may hold under `Args:` is nobody's fault."""
    described = _described(documentation)
    silent = [name for name in names if name not in described]
    near = {name: difflib.get_close_matches(name, silent, n=1) for name in described if name not in names}
    return [
        f"its docstring describes '{name}', which is no parameter; did you mean '{found[0]}'?"
        for name, found in near.items()
        if found
    ]


def place(function: Callable[..., Any]) -> str:
    """`tools.py:12`."""
    code = bare(function).__code__
    return f"{Path(code.co_filename).name}:{code.co_firstlineno}"
