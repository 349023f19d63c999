"""Reads tool calls that students write as code and not as JSON: as Python (LFM2.5, Llama 4), and Gemma 4's form.

Most such templates escape nothing in a text, so only what follows a text tells where it ends. Arguments that cannot be
read are kept as the student wrote them, and the check of the arguments reports them.
"""

import ast
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from distill.records.types import ToolSchema

Call = tuple[str, str]
"""A tool's name and its arguments: JSON, or the student's text where it cannot be read."""
NOTHING = re.compile(r"\s*\)")
ARGUMENT = re.compile(r"\s*(\w+)\s*=\s*")
ENDS = re.compile(r"\s*(?:,\s*(?=\w+\s*=)|\))")
"""What may follow the value of an argument."""
ANOTHER = re.compile(r"\s*,\s*([\w.-]+)\(")
KEY = re.compile(r"([^\s{}\[\]:,]+)\s*:")
CONSTANT = re.compile(r"\b(?:None|True|False)\b")
IN_JSON = {"None": "null", "True": "true", "False": "false"}


@dataclass(frozen=True)
class PythonCalls:
    """A list of Python's calls: `[name(key='text', other=5), name()]`."""

    begin: re.Pattern[str]
    """From the mark of the list into its first call, the tool's name in group 1."""
    close: re.Pattern[str]
    """What follows the last argument of the last call."""
    escaped: bool
    """Whether quotes, line breaks and backslashes in a text are escaped as Python has it."""

    def read(self, text: str, tools: list[ToolSchema]) -> list[Call]:
        """The calls in a text, of whatever tools."""
        calls: list[Call] = []
        begun = self.begin.search(text)
        while begun:
            start = begun.end()
            given, place = self._arguments(text, start)
            if given is None:
                closed = self.close.search(text, start)
                place = closed.start() if closed else len(text)
            calls.append((begun[1], text[start:place] if given is None else given))
            begun = ANOTHER.match(text, place) or self.begin.search(text, place)
        return calls

    def _arguments(self, text: str, start: int) -> tuple[str | None, int]:
        """The arguments that begin at `start`, after the bracket, as JSON, and where the call ends; None where they cannot be
        read."""
        if nothing := NOTHING.match(text, start):
            return "{}", nothing.end()
        given: dict[str, Any] = {}
        place = start
        while named := ARGUMENT.match(text, place):
            for end in ENDS.finditer(text, named.end()):
                with suppress(ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
                    given[named[1]] = _literal(text[named.end() : end.start()], self.escaped)
                    place = end.end()
                    break
            else:
                break
            if text[place - 1] == ")":
                return json.dumps(given, ensure_ascii=False), place
        return None, start


@dataclass(frozen=True)
class BareCalls:
    """JSON with bare keys and with marks of its own around texts: `name{key:<|"|>text<|"|>,other:5}`."""

    begin: re.Pattern[str]
    """From the mark of a call to where its arguments begin, the tool's name in group 1."""
    close: re.Pattern[str]
    """What follows the arguments."""
    quote: str
    """What is before and after a text."""

    def read(self, text: str, tools: list[ToolSchema]) -> list[Call]:
        """The calls in a text, of whatever tools."""
        calls: list[Call] = []
        place = 0
        while begun := self.begin.search(text, place):
            closed = self.close.search(text, begun.end())
            place = closed.start() if closed else len(text)
            written = text[begun.end() : place]
            calls.append((begun[1], _json(written, self.quote) or written))
        return calls


def _literal(text: str, escaped: bool) -> Any:
    """A value of JSON or Python; of a text that is not escaped, everything between its quotes.

    Raises ValueError, SyntaxError or TypeError where it is neither, and what Python raises for one nested too deeply.
    """
    if not escaped and len(text) > 1 and text[0] in "'\"" and text[-1] == text[0]:
        return text[1:-1]
    with suppress(ValueError):
        return json.loads(text)
    value = ast.literal_eval(text)
    json.dumps(value)
    return value


def _json(written: str, quote: str) -> str | None:
    """Arguments with bare keys as JSON; None where they cannot be read."""
    parts = written.split(quote)  # every second part is a text
    parts[1::2] = [json.dumps(part, ensure_ascii=False) for part in parts[1::2]]
    parts[::2] = [
        CONSTANT.sub(lambda found: IN_JSON[found[0]], KEY.sub(lambda key: f"{json.dumps(key[1])}:", part))
        for part in parts[::2]
    ]
    as_json = "".join(parts)
    with suppress(ValueError, RecursionError):
        if isinstance(value := json.loads(as_json), dict):
            return json.dumps(value, ensure_ascii=False)
    return None
