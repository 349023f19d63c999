"""A strict JSON parser: what other parsers would silently change is a fault."""

import json
import re
from typing import Any

import orjson

_POSITION = re.compile(r": line 1 column (\d+) \(char \d+\)$")
_LARGEST = 2**64
_MOST_DIGITS = 20
"""Characters of the longest integer of 64 bits, its sign included: longer text is not converted, which could be slow."""


class _Altered(ValueError):
    """Valid JSON that would be parsed to something else than it says."""


def parse(text: bytes) -> tuple[Any, str | None]:
    """The value of a JSON text, and what is wrong with it (None when nothing is).

    Refuses not only invalid JSON (NaN, lone surrogates, bytes that are not UTF-8) but also what orjson accepts and
    changes: it keeps the last of two equal keys, and rounds integers beyond 64 bits. Text that `dumps` gives back
    unchanged has neither; any other text is parsed again by the slower parser of the standard library.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return None, f"not valid JSON: {_described(error)}"
    try:
        if orjson.dumps(value) == text.rstrip():
            return value, None
    except TypeError:
        return value, "nested too deeply to be written again"
    try:
        json.loads(text, object_pairs_hook=_object, parse_int=_integer)
    except _Altered as error:
        return value, str(error)
    return value, None


def _described(error: orjson.JSONDecodeError) -> str:
    """The parser's message with the column only: a record is one line."""
    message = _POSITION.sub(r", column \1", str(error))
    if "unexpected end of data" in message or "EOF" in message:
        return f"{message}: the text ends in the middle (of JSON Lines, each line is a whole object)"
    return f"{message}: save it as UTF-8" if "UTF-8" in message else message


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _Altered(f"the key '{twice}' occurs twice in one object; which of the two counts?")
    return record


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS or not -(_LARGEST >> 1) <= int(digits) < _LARGEST:
        raise _Altered(f"the number {digits[:40]} has too many digits to be kept; write it as a string")
    return int(digits)
