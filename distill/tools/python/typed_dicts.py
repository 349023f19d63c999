"""Converts `typing.TypedDict` for pydantic, which before Python 3.12 accepts only that of typing_extensions."""

import operator
import sys
import types
from functools import reduce
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict


def portable(hint: Any) -> Any:
    """The type hint, with each `typing.TypedDict` in it replaced by an equal one that pydantic accepts."""
    if sys.version_info >= (3, 12):
        return hint
    if is_typeddict(hint):
        return _converted(hint) if type(hint).__module__ == "typing" else hint
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return Annotated[(portable(inner[0]), *inner[1:])]  # type: ignore[return-value]
    converted = inner if origin is Literal else tuple(portable(part) for part in inner)
    if converted == inner:
        return hint
    return reduce(operator.or_, converted) if origin in (Union, types.UnionType) else origin[converted]


def _converted(hint: Any) -> Any:
    import typing_extensions

    fields: dict[str, Any] = {}
    for name, inner in get_type_hints(hint, include_extras=True).items():
        mark, value = get_origin(inner), inner
        if mark in (typing_extensions.Required, typing_extensions.NotRequired):
            (value,) = get_args(inner)
        else:  # under `from __future__ import annotations` the hints are only now evaluated
            mark = typing_extensions.Required if name in hint.__required_keys__ else typing_extensions.NotRequired
        fields[name] = mark[portable(value)]
    typed_dict: Any = typing_extensions.TypedDict(hint.__name__, fields)  # type: ignore[misc, operator]
    typed_dict.__doc__ = hint.__doc__
    return typed_dict
