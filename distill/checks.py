"""What a user's checks.py needs: `from distill.checks import check, Fault`.

`@check` marks a function of one row; `load` reads the file as python_source.load reads tools.py.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distill.dataset.checks.fault import Fault
from distill.project import user_code
from distill.records.faults import InputError
from distill.records.types import Row
from distill.tools.schema_words import steps

__all__ = ["Fault", "check", "load"]

Check = Callable[[Row], Fault | None]


def check(function: Callable[[Row], str | Fault | None]) -> Callable[[Row], str | Fault | None]:
    """Marks a check: it gets a row and returns what is wrong with it, or None. It must not change the row.

    A `Fault` has JSON pointers beside the words; in mode `mask` the assistant turns that they point at are masked.
    """
    function.__distill_check__ = True  # type: ignore[attr-defined]
    return function


def load(path: Path | str) -> dict[str, Check]:
    """The checks of a Python file, by name; empty when there is no such file.

    Raises InputError with every fault, as `checks.py:line: what is wrong`; the checks raise it, too, where the user's
    function raises or returns something else.
    """
    path = Path(path)
    if not path.exists():
        return {}
    module = user_code.load(path, "project_checks")
    found = {name: thing for name, thing in vars(module).items() if hasattr(thing, "__distill_check__")}
    faults = [fault for name, function in found.items() for fault in _faults(path, name, function)]
    if faults:
        raise InputError(faults)
    return {name: _asking(path, name, function) for name, function in found.items()}


def _asking(path: Path, name: str, function: Callable[..., Any]) -> Check:
    def ask(row: Row) -> Fault | None:
        try:
            said = function(row)
        except Exception as error:
            where = f"{path}:{user_code.line(error, path)}"
            raise InputError(
                f"{where}: check '{name}' raised {type(error).__name__}: {error} (rollout {row['rollout_id']})"
            ) from error
        where = _where(path, name, function)
        if isinstance(said, Fault) and not _is_within(row, said.pointers):
            raise InputError(
                f"{where} points at {said.pointers!r}; a Fault takes a tuple of JSON pointers to what is in the row, such as "
                "('/messages/2',)"
            )
        if said is None or isinstance(said, Fault):
            return said
        if isinstance(said, str) and said.strip():
            return Fault(said)
        raise InputError(f"{where} returned {said!r}; return None, or in words what is wrong")

    return ask


def _is_within(row: Row, pointers: Any) -> bool:
    """Whether `pointers` is a list or tuple of JSON pointers to parts of the row."""
    try:
        for pointer in pointers:
            part: Any = row
            for step in steps(pointer):
                if isinstance(part, list) and not step.isdecimal():
                    return False
                part = part[int(step) if isinstance(part, list) else step]
        return isinstance(pointers, list | tuple) and all(pointer.startswith("/") for pointer in pointers)
    except (AttributeError, LookupError, TypeError, ValueError):
        return False


def _where(path: Path, name: str, function: Callable[..., Any]) -> str:
    """The check as `checks.py:line: check 'name'`; without the line where it is an object, such as a partial function."""
    code = getattr(function, "__code__", None)
    return f"{path}{f':{code.co_firstlineno}' if code else ''}: check '{name}'"


def _faults(path: Path, name: str, function: Callable[..., Any]) -> list[str]:
    where = _where(path, name, function)
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        return [f"{where} must be a plain function"]
    try:
        inspect.signature(function).bind({})
    except TypeError:
        return [f"{where} must take one argument, the row"]
    return []
