"""JSON text to values, strictly: whatever would be changed in silence is a fault."""

import json
import re
from typing import Any

import orjson

_WHERE = re.compile(r": line 1 column (\d+) \(char \d+\)$")
_LARGEST = 2**64


class _Changed(ValueError):
    """Valid JSON that does not come out as it went in."""


def parse(text: bytes) -> tuple[Any, str | None]:
    """The value of a JSON text, and what is wrong with it (None when nothing is).

    Beside what JSON does not know (NaN, lone surrogates, bytes that are no UTF-8) refuses what orjson takes and changes:
    of a key that occurs twice it keeps the last, an integer beyond 64 bits it rounds. Text that is written as we write
    it can have neither, which costs one `dumps` to see; other text is parsed once more by the slower parser of the
    standard library.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return None, f"not valid JSON: {_worded(error, text)}"
    try:
        if orjson.dumps(value) == text.rstrip():
            return value, None
    except TypeError:
        return value, "nested too deeply to be written again"
    try:
        json.loads(text, object_pairs_hook=_object, parse_int=_integer)
    except _Changed as error:
        return value, str(error)
    return value, None


def _worded(error: orjson.JSONDecodeError, text: bytes) -> str:
    said = _WHERE.sub(r", column \1", str(error))
    if "unexpected end of data" in said or "EOF" in said:
        return f"{said}: the text ends in the middle"
    return said


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _Changed(f"the key '{twice}' occurs twice in one object; which of the two counts?")
    return found


def _integer(digits: str) -> int:
    if len(digits) > 20 or not -(_LARGEST >> 1) <= int(digits) < _LARGEST:
        raise _Changed(f"the number {digits[:40]} has too many digits to be kept; write it as a string")
    return int(digits)
