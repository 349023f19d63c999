"""Reads tool calls from the text of a student, in the forms in which chat templates write them.

JSON: a mark, the tool's name, a JSON object (Qwen3, Llama 3.1). Tags: each argument between tags of its own (Qwen3.5,
Nemotron 3, GLM 4), where texts are written as they are and everything else as JSON, so that only the tool's schema
tells the text "5" from the number. And as code: see calls_as_code.py.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from distill.records.types import ToolSchema
from distill.student.served_messages import call_id
from distill.student.serving.calls_as_code import ANOTHER, Arguments, Schemas, bare_arguments, python_arguments

NAME, KEY, VALUE, OTHER, LAST = (f"Qz{word}" for word in ("name", "key", "value", "other", "last"))
SHOWN = {"id": call_id(1), "type": "function", "function": {"name": NAME, "arguments": {KEY: VALUE, OTHER: LAST}}}
"""A call that a template is made to write: its parts are marked, so that they are found again."""
SEVERAL = [SHOWN | {"id": call_id(number)} for number in (1, 2, 3)]
IDS = re.compile("|".join(map(call_id, (1, 2, 3))))
QUOTE = {"id": call_id(1), "type": "function", "function": {"name": NAME, "arguments": {KEY: "'"}}}
"""A call that shows whether a template escapes quotes."""
TEXT = {"type": "string"}
TOOL = {
    "type": "function",
    "function": {
        "name": NAME,
        "description": "-",
        "parameters": {"type": "object", "properties": {KEY: TEXT, OTHER: TEXT}},
    },
}
JSON = re.compile(rf'\{{\s*"{KEY}"\s*:\s*"{VALUE}"\s*,\s*"{OTHER}"\s*:\s*"{LAST}"\s*\}}')
TAGS = re.compile(
    rf"{NAME}(?P<named>.*?)(?P<open><[^<]*){KEY}(?P<between>.*?){VALUE}(?P<shut>.*?)"
    rf"(?P=open){OTHER}(?P=between){LAST}(?P=shut)(?P<close>.*)",
    re.DOTALL,
)
"""SHOWN between tags, from its name on: the same tags stand around both arguments."""
CODE = re.compile(rf"{NAME}\({KEY}=(['\"]){VALUE}\1, {OTHER}=\1{LAST}\1(?P<close>\).*)", re.DOTALL)
BARE = re.compile(
    rf"{NAME}\{{{KEY}:(?P<quote>.+?){VALUE}(?P=quote),{OTHER}:(?P=quote){LAST}(?P=quote)\}}(?P<close>.*)", re.DOTALL
)
PYTHON = {"True": True, "False": False, "None": None}
"""Values that templates write as Python does, not as JSON."""
NEVER = re.compile(r"(?!)")


@dataclass(frozen=True)
class Calls:
    """A form of calls."""

    begin: re.Pattern[str]
    """From the mark of a call to where its arguments begin, the tool's name in group 1."""
    close: re.Pattern[str]
    """What follows the arguments."""
    arguments: Callable[[str, int, Schemas], Arguments]
    """Reads the arguments that begin at a place in a text, of a tool whose parameters have these schemas."""
    another: re.Pattern[str] = NEVER
    """As `begin`, from the end of one call into the next behind the same mark."""

    def read(self, text: str, tools: list[ToolSchema]) -> list[tuple[str, str]]:
        """The calls in a text, of whatever tools: a tool's name, and its arguments as JSON, or as the student wrote them
        where they cannot be read, which the check of the arguments reports."""
        calls: list[tuple[str, str]] = []
        begun = self.begin.search(text)
        while begun:
            start = begun.end()
            given, place = self.arguments(text, start, properties(begun[1], tools))
            if given is None:
                closed = self.close.search(text, place)
                place = closed.start() if closed else len(text)
            calls.append((begun[1], text[start:place] if given is None else given))
            begun = self.another.match(text, place) or self.begin.search(text, place)
        return calls


def json_arguments(text: str, start: int, schemas: Schemas) -> Arguments:
    """Reads a JSON object, which stays as it is written."""
    try:
        _, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):  # a student that is stuck in a loop writes `[[[[` to the end
        return None, start
    return text[start:end], end


def tagged_arguments(
    argument: re.Pattern[str], close: re.Pattern[str], text: str, start: int, schemas: Schemas
) -> Arguments:
    """Reads arguments between tags: `argument` is one, its name in group 1 and its value in group 2; `close` follows them."""
    given, place = {}, start
    while found := argument.match(text, place):
        given[found[1]] = _value(found[2], schemas.get(found[1], {}))
        place = found.end()
    return json.dumps(given, ensure_ascii=False) if close.match(text, place) else None, place


def form(mark: str, shown: str, quote: str, several: str) -> Calls | None:
    """The form in which a template writes calls, from how it wrote the call SHOWN: the `mark` before its name, and the text
    `shown` from there to the end of the turn. `quote` is a turn with the call QUOTE, and `several` one with the calls SEVERAL,
    empty where the template takes one only. None for an unknown form."""
    if written := JSON.search(shown):
        between, close = shown[len(NAME) : written.start()], shown[written.end() :]
        named = rf"\s*([\w.-]+)\s*{loose(between)}\s*(?=\{{)"
        pieces = JSON.split(several)
        # They may be a list behind one mark (Granite 3, Mistral).
        between_calls = loose(pieces[1].partition(NAME)[0]) if len(pieces) > 2 else ""
        another = re.compile(rf"\s*{between_calls}{named}") if between_calls else NEVER
        begin = re.compile(loose(mark) + named)
        return Calls(begin, re.compile(loose(close) or r"\Z"), json_arguments, another)
    if code := CODE.fullmatch(shown):
        opened = re.compile(rf"{loose(mark)}\s*([\w.-]+)\(")
        arguments = partial(python_arguments, "\\'" in quote)
        return Calls(opened, re.compile(loose(code["close"])), arguments, ANOTHER)
    if bare := BARE.fullmatch(shown):
        opened = re.compile(rf"{loose(mark)}\s*([\w.-]+)(?=\{{)")
        end = re.compile(_first(bare["close"]))
        return Calls(opened, end, partial(bare_arguments, bare["quote"], end))
    if not (tags := TAGS.fullmatch(shown)):
        return None
    value = "(?s:(.*?))".join(
        (r"\n?" if tags["between"].endswith("\n") else "", r"\n?" if tags["shut"].startswith("\n") else "")
    )  # a line break that the template puts there is not the value's
    argument = rf"\s*{loose(tags['open'])}([^\n<]+?){loose(tags['between'])}{value}{loose(tags['shut'])}"
    opened = re.compile(rf"{loose(mark)}\s*([\w.-]+)\s*{loose(tags['named'])}")
    end = re.compile(rf"\s*{_first(tags['close'])}")
    return Calls(opened, end, partial(tagged_arguments, re.compile(argument), end))


def _first(text: str) -> str:
    """A pattern for the first tag or word of a text; for the end of a text where there is none."""
    first = re.match(r"\s*(<[^<>]*>|\S+)", text)
    return re.escape(first[1]) if first else r"\Z"


def properties(name: str, tools: list[ToolSchema]) -> dict[str, Any]:
    """The schemas of the parameters of the tool `name`, by their names."""
    named = (tool["function"] for tool in tools if tool["function"]["name"] == name)
    return next(((function.get("parameters") or {}).get("properties", {}) for function in named), {})


def _value(text: str, schema: dict[str, Any]) -> Any:
    """The value of a text by its schema; the text itself where it does not fit, which the check of the arguments reports."""
    kinds = set(_kinds(schema))
    if "string" in kinds and not ("null" in kinds and text in ("null", "None")):
        return text
    try:
        return PYTHON[text] if text in PYTHON else json.loads(text)
    except (ValueError, RecursionError):
        return text


def _kinds(schema: dict[str, Any]) -> Iterator[str]:
    """The JSON types that a schema allows."""
    kind = schema.get("type", [])
    yield from [kind] if isinstance(kind, str) else kind
    if any(isinstance(value, str) for value in schema.get("enum", [schema.get("const")])):
        yield "string"
    for alternative in [*schema.get("anyOf", []), *schema.get("oneOf", [])]:
        yield from _kinds(alternative)


def loose(text: str) -> str:
    """A pattern for a text that allows any white space, or none, where the text has some, and any id where it has one."""
    return r"\s*".join(IDS.sub(r"[\\w-]+", re.escape(piece)) for piece in text.split())
