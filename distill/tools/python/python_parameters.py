"""The parameters of a function as a pydantic model, from its type hints, its defaults and its docstring."""

import inspect
import types
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.fields import FieldInfo

from distill.records.faults import Faults, InputError
from distill.records.one_line import one_line
from distill.tools.context import ToolContext, ToolState
from distill.tools.python.typed_dicts import portable


class Parameters(NamedTuple):
    """`model` validates the arguments of a call; the alias of a field is the name of its parameter. `context` are the
    parameters that are filled with a ToolContext, `state` those that are with the rollout's ToolState. `not_pythons` are
    the fields whose default, if any, Python does not know: it is in a `Field(…)`."""

    model: type[BaseModel]
    context: tuple[str, ...]
    state: tuple[str, ...]
    not_pythons: set[str]

    def of(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a call as the function expects them. Raises pydantic's ValidationError."""
        values = self.model.model_validate(arguments)
        return {info.alias or field: getattr(values, field) for field, info in self.model.model_fields.items()}

    def defaults(self) -> dict[str, Any]:
        """The defaults in JSON's form that Python does not fill in by itself."""
        return self.model.model_construct().model_dump(mode="json", by_alias=True, include=self.not_pythons)


def parameters(function: Callable[..., Any], described: dict[str, str | None]) -> Parameters:
    """The parameters of a function; `described`: descriptions from the docstring. Raises InputError with every fault.

    The description in `Annotated[int, "words"]` or `Annotated[int, Field(description="words")]` takes precedence over the
    docstring's. A parameter whose default is None may be null, whatever its hint says.
    """
    try:
        hints = get_type_hints(function, include_extras=True)
    except Exception as error:  # a hint may be any expression
        raise InputError(f"its type hints cannot be read: {error}") from None
    faults, fields, context, state, not_pythons = Faults(), {}, [], [], set()
    for place, parameter in enumerate(inspect.signature(function).parameters.values()):
        name, hint = parameter.name, hints.get(parameter.name)
        fault = _kind_fault(parameter) or (None if name in hints else f"parameter '{name}' has no type hint")
        if fault:
            faults.add(fault)
        elif _is(ToolContext, hint):
            context.append(name)
        elif _is(ToolState, hint):
            state.append(name)
        else:
            with faults.collect(f"parameter '{name}': "):
                # Fields get names of our own: pydantic refuses some that parameters may have, like `json` and `_x`.
                fields[f"p{place}"] = _field(name, hint, parameter.default, described.get(name))
                if parameter.default is parameter.empty or isinstance(parameter.default, FieldInfo):
                    not_pythons.add(f"p{place}")
    faults.check()
    model: type[BaseModel] = create_model(
        function.__name__,
        __config__=ConfigDict(extra="forbid"),
        **fields,  # type: ignore[call-overload]
    )
    return Parameters(model, tuple(context), tuple(state), not_pythons)


def _kind_fault(parameter: inspect.Parameter) -> str | None:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
        return f"{stars}{parameter.name} cannot be described to a model; name each parameter"
    if parameter.kind is parameter.POSITIONAL_ONLY:
        return f"parameter '{parameter.name}' cannot be passed by name; take away the '/'"
    return None


def _is(filled: type, hint: Any) -> bool:
    """Whether a hint is this class, the class or None, or one of them in Annotated."""
    if get_origin(hint) is Annotated:
        return _is(filled, get_args(hint)[0])
    return hint is filled or (get_origin(hint) in (Union, types.UnionType) and filled in get_args(hint))


def _field(name: str, hint: Any, default: Any, described: str | None) -> tuple[Any, FieldInfo]:
    """Hint and field of a parameter. Raises InputError when its type has no JSON form."""
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
    description = _description(hint) or described
    settings: dict[str, Any] = {"alias": name} | ({"description": description} if description else {})
    return hint, Field(**settings) if _made_by_factory(hint) else Field(default, **settings)


def _made_by_factory(hint: Any) -> bool:
    """Whether the annotation has a factory for the default (`Field(default_factory=list)`): pydantic allows no other."""
    extras = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return any(isinstance(extra, FieldInfo) and extra.default_factory for extra in extras)


def _adapted(hint: Any) -> tuple[Any, TypeAdapter[Any]]:
    try:
        hint = portable(hint)
        adapter: TypeAdapter[Any] = TypeAdapter(hint)
        adapter.json_schema()
    except Exception as error:  # pydantic has a dozen for it, and the classes of the user may raise any
        reason = one_line(error).split(". Set ")[0]  # the advice that follows is for pydantic's users
        raise InputError(f"its type has no JSON form: {reason}") from None
    return hint, adapter


def _description(hint: Any) -> str | None:
    """The description in an annotation: `"words"`, or `Field(description="words")`."""
    if get_origin(hint) is not Annotated:
        return None
    for extra in get_args(hint)[1:]:
        description = extra if isinstance(extra, str) else getattr(extra, "description", None)
        if isinstance(description, str):
            return description
    return None


def _nullable(hint: Any) -> Any:
    if get_origin(hint) is Annotated:
        inner, *extras = get_args(hint)
        return Annotated[(inner | None, *extras)]  # type: ignore[return-value]
    return hint | None
