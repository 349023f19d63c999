"""Rows of a Hugging Face dataset, as `load_dataset` and TRL's SFTTrainer take them.

`messages` stays a list, as templates want it: what a template makes of it is what our own trainer learns. `tools`,
`metadata`, `outcome` and the arguments of calls become JSON strings: their keys differ between rows, and Arrow would give
every row the keys of all others. By FEATURES the arguments are objects again when the dataset is loaded, which is what
templates are made for (of a string many would write the quoted form); TRL parses `tools` itself.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from distill.dataset.export import NotRepresentable
from distill.records.types import Message, Row
from distill.student.served_messages import as_templates_want, tools_as_served
from distill.student.template import Unrenderable

MOST_ZEROS = 8
AS_TEXT = ("tools", "metadata", "outcome")
COLUMNS = {"prompt_id": "string", "rollout_id": "string", "sample": "int64", "split": "string", "teacher": "string"}
FEATURES: list[dict[str, Any]] = [
    {
        "name": "messages",
        "list": [
            *(
                {"name": name, "dtype": "string"}
                for name in ("role", "content", "name", "reasoning_content", "refusal")
            ),
            {"name": "weight", "dtype": "int64"},
            {"name": "tool_call_id", "dtype": "string"},
            {
                "name": "tool_calls",
                "list": [
                    {"name": "id", "dtype": "string"},
                    {"name": "type", "dtype": "string"},
                    {
                        "name": "function",
                        "struct": [{"name": "name", "dtype": "string"}, {"name": "arguments", "dtype": "json"}],
                    },
                ],
            },
        ],
    },
    *({"name": name, "dtype": "string"} for name in AS_TEXT),
    *({"name": name, "dtype": kind} for name, kind in COLUMNS.items()),
]
"""`dataset_info.features` of the card. Without it the types are those of the first 10 MB, and a field that occurs later for
the first time (a call, a thought) makes `load_dataset` fail."""


def export(row: Row) -> dict[str, Any]:
    """The row as columns of plain types. Raises NotRepresentable."""
    changed = {"messages": list(_messages(row)), "tools": tools_as_served(row["tools"]) or []}
    kept = {key: value for key, value in (row | changed).items() if key != "origin"}  # which only some rows have
    return {key: orjson.dumps(value).decode() if key in AS_TEXT else value for key, value in kept.items()}


def _messages(row: Row) -> Iterator[Message]:
    """The messages as templates are given them, with their weights. Raises NotRepresentable."""
    try:
        for message, given in zip(as_templates_want(row["messages"]), row["messages"], strict=True):
            for call in message.get("tool_calls", ()):
                call["function"]["arguments"] = orjson.dumps(_as_read(call["function"]["arguments"])).decode()
            yield message | ({"weight": given["weight"]} if given.get("weight") is not None else {})
    except Unrenderable:
        raise NotRepresentable("the arguments of a call are not a JSON object") from None
    except TypeError:
        raise NotRepresentable("a whole number in the arguments of a call has more than 64 bits") from None


def _as_read(value: Any) -> Any:
    """A value of JSON with its numbers so written that datasets reads them as they are: 0.3 as 0.30."""
    if isinstance(value, dict):
        return {key: _as_read(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_as_read(inner) for inner in value]
    return orjson.Fragment(_fraction(value)) if isinstance(value, float) else value


def _fraction(value: float) -> str:
    """The JSON text of a number that the reader of datasets (pandas' ujson) reads as this number. It multiplies the digits
    behind the point by a power of ten, which makes 0.30000000000000004 of 0.3; with zeros behind them, or all digits before
    an exponent, it comes out right for all but some long ones."""
    text = orjson.dumps(value).decode()
    whole, _, fraction = text.partition(".")
    if not fraction.isdigit():  # it has an exponent
        return text
    for zeros in range(MOST_ZEROS + 1):
        digits = fraction + "0" * zeros
        unit = 10.0 ** -len(digits)
        if abs(int(whole)) + int(digits) * unit == abs(value):
            return f"{whole}.{digits}"
        if int(whole + digits) * unit == value:
            return f"{int(whole + digits)}e-{len(digits)}"
    return text
