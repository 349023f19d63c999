"""The parameters of a function as a pydantic model, from its type hints, its defaults and its docstring."""

import inspect
import types
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.fields import FieldInfo

from distill.records.faults import InputError
from distill.tools.context import Context
from distill.tools.typed_dicts import portable


class Parameters(NamedTuple):
    """`model` validates the arguments of a call, which `names` (field: parameter) takes out of it; `context` are the
    parameters that get a Context."""

    model: type[BaseModel]
    names: dict[str, str]
    context: tuple[str, ...]

    def of(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a call as the function expects them. Raises pydantic's ValidationError."""
        values = self.model.model_validate(arguments)
        return {name: getattr(values, field) for field, name in self.names.items()}


def parameters(function: Callable[..., Any], described: dict[str, str | None]) -> Parameters:
    """The parameters of a function; `described` are the docstring's words. Raises InputError with every fault.

    The words of `Annotated[int, "words"]` or `Annotated[int, Field(description="words")]` go before the docstring's. A
    parameter whose default is None may be null, whatever its hint says.
    """
    try:
        hints = get_type_hints(function, include_extras=True)
    except Exception as error:  # a hint may be any expression
        raise InputError(f"its type hints cannot be read: {error}") from None
    faults, fields, context = [], {}, []
    for place, parameter in enumerate(inspect.signature(function).parameters.values()):
        name, hint = parameter.name, hints.get(parameter.name)
        fault = _kind_fault(parameter) or (None if name in hints else f"parameter '{name}' has no type hint")
        if fault:
            faults.append(fault)
        elif _is_context(hint):
            context.append(name)
        else:
            try:
                # Any name will do for a parameter, not for a field: `json` and `_x` are taken or refused there.
                fields[f"p{place}"] = _field(name, hint, parameter.default, described.get(name))
            except InputError as error:
                faults += [f"parameter '{name}': {fault}" for fault in error.faults]
    if faults:
        raise InputError(faults)
    names = {field: info.alias or "" for field, (_, info) in fields.items()}
    model: type[BaseModel] = create_model(
        function.__name__,
        __config__=ConfigDict(extra="forbid"),
        **fields,  # type: ignore[call-overload]
    )
    return Parameters(model, names, tuple(context))


def _kind_fault(parameter: inspect.Parameter) -> str | None:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
        return f"{stars}{parameter.name} cannot be described to a model; name each parameter"
    if parameter.kind is parameter.POSITIONAL_ONLY:
        return f"parameter '{parameter.name}' cannot be passed by name; take away the '/'"
    return None


def _is_context(hint: Any) -> bool:
    """Whether a hint is Context, also `Context | None` and Annotated."""
    if get_origin(hint) is Annotated:
        return _is_context(get_args(hint)[0])
    return hint is Context or (get_origin(hint) in (Union, types.UnionType) and Context in get_args(hint))


def _field(name: str, hint: Any, default: Any, described: str | None) -> tuple[Any, FieldInfo]:
    """Hint and field of a parameter. Raises InputError when JSON cannot say it."""
    hint, adapter = _adapted(hint)
    if isinstance(default, FieldInfo):  # `x: int = Field(5, description="…")`
        hint, default = Annotated[hint, default], default.get_default(call_default_factory=True)
        default = ... if repr(default) == "PydanticUndefined" else default
    elif default is inspect.Parameter.empty:
        default = ...
    if default is not ...:
        try:
            adapter.validate_python(default)
        except ValidationError as error:
            if default is not None:
                raise InputError(f"its default {default!r} does not fit its type: {error.errors()[0]['msg']}") from None
            hint = _nullable(hint)
    words = _words(hint) or described
    said: dict[str, Any] = {"alias": name} | ({"description": words} if words else {})
    return hint, Field(**said) if _made_by_factory(hint) else Field(default, **said)


def _made_by_factory(hint: Any) -> bool:
    """Whether the annotation says how the default is made (`Field(default_factory=list)`): pydantic takes no other."""
    extras = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return any(isinstance(extra, FieldInfo) and extra.default_factory for extra in extras)


def _adapted(hint: Any) -> tuple[Any, TypeAdapter[Any]]:
    try:
        hint = portable(hint)
        adapter: TypeAdapter[Any] = TypeAdapter(hint)
        adapter.json_schema()
    except Exception as error:  # pydantic has a dozen for it, and the classes of the user may raise any
        reason = str(error).splitlines()[0].split(". Set ")[0] if str(error) else type(error).__name__
        raise InputError(f"its type cannot be said in JSON: {reason}") from None
    return hint, adapter


def _words(hint: Any) -> str | None:
    """What an annotation says in words: `"words"`, or `Field(description="words")`."""
    if get_origin(hint) is not Annotated:
        return None
    for extra in get_args(hint)[1:]:
        words = extra if isinstance(extra, str) else getattr(extra, "description", None)
        if isinstance(words, str):
            return words
    return None


def _nullable(hint: Any) -> Any:
    if get_origin(hint) is Annotated:
        inner, *extras = get_args(hint)
        return Annotated[(inner | None, *extras)]  # type: ignore[return-value]
    return hint | None
