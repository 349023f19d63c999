"""Compiles chat templates as transformers does, but without importing it, which takes three seconds."""

import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Unrenderable(ValueError):
    """A row that the student's template cannot render; the message begins with the JSON pointer into the row."""


STOPPED_CLOCK = (
    "{%- macro strftime_now(format) -%}{{- format | replace('%d', '26') | replace('%B', 'July') | replace('%b', 'Jul')"
    " | replace('%m', '07') | replace('%Y', '2024') -}}{%- endmacro -%}\n"
)  # the date that Llama 3's own template falls back to


_METHODS = frozenset(dir(dict))


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox that servers use, with a short way to the values of a record, which are most of what templates ask for."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if type(obj) is dict and attribute not in _METHODS:
            return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)


class _Generation(Extension):
    """The block `{% generation %}`, with which templates mark assistant turns for trainers; it renders its content."""

    tags: set[str] = {"generation"}  # noqa: RUF012

    def parse(self, parser: Any) -> list[Any]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def compile_template(text: str) -> Callable[..., str]:
    """A function from the template's variables (messages, tools, add_generation_prompt, …) to text.

    `strftime_now` is left undefined: see `without_clock`. Raises jinja2.TemplateSyntaxError.
    """
    environment = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    return environment.from_string(text).render


def without_clock(text: str) -> str:
    """The template with a fixed date, where it writes today's (Llama 3.2, SmolLM3).

    Servers give templates a function `strftime_now`, so a student would be trained with one date and served with
    another. A macro of that name takes its place, wherever the template is rendered.
    """
    if "strftime_now" not in text or text.startswith(STOPPED_CLOCK):
        return text
    return STOPPED_CLOCK + text


def with_usual_names(text: str) -> str:
    """The template with thoughts under the name that all servers use, `reasoning_content`: LFM2.5's and gpt-oss's look for
    `thinking`, which vLLM never passes.
    """
    text = re.sub(r"\bmessage\.thinking\b", "message.reasoning_content", text)
    return re.sub(r"""(['"])thinking\1(?=\s+in\s+message\b)""", r"\1reasoning_content\1", text)


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """JSON for a prompt: Jinja's own filter would write `<` as `\\u003c`."""
    return _json_encoder(ensure_ascii, indent, separators and tuple(separators), sort_keys).encode(value)


@lru_cache
def _json_encoder(
    ensure_ascii: bool, indent: int | None, separators: tuple[str, str] | None, sort_keys: bool
) -> json.JSONEncoder:
    return json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
