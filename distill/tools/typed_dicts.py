"""Python 3.11's own TypedDict for pydantic, which takes only that of typing_extensions before 3.12."""

import operator
import sys
import types
from functools import reduce
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict


def portable(hint: Any) -> Any:
    """The type hint, with each `typing.TypedDict` in it replaced by an equal one that pydantic takes."""
    if sys.version_info >= (3, 12):
        return hint
    if is_typeddict(hint):
        return _again(hint) if type(hint).__module__ == "typing" else hint
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return Annotated[(portable(inner[0]), *inner[1:])]  # type: ignore[return-value]
    made = inner if origin is Literal else tuple(portable(one) for one in inner)
    if made == inner:
        return hint
    return reduce(operator.or_, made) if origin in (Union, types.UnionType) else origin[made]


def _again(hint: Any) -> Any:
    import typing_extensions

    fields: dict[str, Any] = {}
    for name, inner in get_type_hints(hint, include_extras=True).items():
        mark, said = get_origin(inner), inner
        if mark in (typing_extensions.Required, typing_extensions.NotRequired):
            (said,) = get_args(inner)
        else:  # under `from __future__ import annotations` the class has not seen what its hints say of this
            mark = typing_extensions.Required if name in hint.__required_keys__ else typing_extensions.NotRequired
        fields[name] = mark[portable(said)]
    made: Any = typing_extensions.TypedDict(hint.__name__, fields)  # type: ignore[misc, operator]
    made.__doc__ = hint.__doc__
    return made
