"""What a tool returns, as the text that the model reads."""

import json
from collections.abc import Iterator
from typing import Any

import orjson

from distill.tools.sandbox import runner


def told(value: Any) -> str:
    """A text as it is; anything else as JSON, a single text without quotes; else as Python's text. The same value gives the
    same text in every process; RuntimeError is raised for one without.

    Of a large value this takes seconds, so it belongs into the thread of the tool.
    """
    if isinstance(value, str):
        return value
    read: dict[int, tuple[Any, Any]] = {}

    def plain(part: Any) -> Any:
        if not isinstance(part, Iterator):
            return runner.plain(part)
        if id(part) not in read:  # it gives its items once
            read[id(part)] = part, runner.plain(part)
        return read[id(part)][1]

    try:
        text = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS, default=plain).decode()
    except TypeError as error:
        if isinstance(error.__cause__, RuntimeError):
            raise error.__cause__ from None
        try:
            text = json.dumps(value, default=plain, ensure_ascii=False)  # takes integers of more than 64 bits
        except (TypeError, ValueError, RecursionError):
            return runner.text(value)
    return json.loads(text) if text.startswith('"') else text
