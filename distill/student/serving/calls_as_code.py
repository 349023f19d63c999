"""Reads tool calls that students write as code and not as JSON: as Python (LFM2.5, Llama 4), and Gemma 4's form.

Most such templates escape nothing in a text, so only what follows a text tells where it ends.
"""

import ast
import json
import re
from contextlib import suppress
from typing import Any

Schemas = dict[str, Any]
"""The schemas of a tool's parameters, by their names."""
Arguments = tuple[str | None, int]
"""Arguments as JSON, and where they end; None where they cannot be read, and from where their end is to be looked for."""
NOTHING = re.compile(r"\s*\)")
NAMED = r"""[^\s=(),'"]+"""
"""The name of an argument, which need not be one of Python's: `user-id`, `$filter`."""
ARGUMENT = re.compile(rf"\s*({NAMED})\s*=\s*")
ENDS = re.compile(rf"\s*(?:,\s*(?={NAMED}\s*=)|\)(?=\s*(?:[\]<]|,\s*[\w.-]+\(|\Z)))")
"""What may follow the value of an argument: another, or the end of the call, behind which the list or the turn ends or
another call begins; no bracket in a text, as of `'name IN ('a', 'b')'`."""
ANOTHER = re.compile(r"\s*,\s*([\w.-]+)\(")
KEY = re.compile(r"([^\s{}\[\]:,]+)\s*:")
CONSTANT = re.compile(r"\b(?:None|True|False)\b")
IN_JSON = {"None": "null", "True": "true", "False": "false"}


def python_arguments(escaped: bool, text: str, start: int, schemas: Schemas) -> Arguments:
    """Reads the arguments of one of Python's calls in a list, `[name(key='text', other=5), name()]`, after its bracket.
    `escaped`: whether quotes, line breaks and backslashes in a text are escaped as Python has it."""
    if nothing := NOTHING.match(text, start):
        return "{}", nothing.end()
    given: dict[str, Any] = {}
    place = start
    while named := ARGUMENT.match(text, place):
        for end in ENDS.finditer(text, named.end()):
            with suppress(ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
                given[named[1]] = _literal(text[named.end() : end.start()], escaped)
                place = end.end()
                break
        else:
            break
        if text[place - 1] == ")":
            return json.dumps(given, ensure_ascii=False), place
    return None, start


def bare_arguments(quote: str, close: re.Pattern[str], text: str, start: int, schemas: Schemas) -> Arguments:
    """Reads JSON with bare keys, up to `close`, and with the mark `quote` around texts: `{key:<|"|>text<|"|>,other:5}`."""
    closed = close.search(text, start)
    end = closed.start() if closed else len(text)
    return _json(text[start:end], quote), end


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
