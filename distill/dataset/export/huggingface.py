"""Rows of a Hugging Face dataset, as `load_dataset` and TRL's SFTTrainer take them.

`messages` stays a list. `tools`, `metadata` and `outcome` become JSON strings: their keys differ between rows, and
Arrow would give every row the keys of all others. TRL parses `tools` itself.
"""

from typing import Any

from distill.records import jsonl
from distill.records.types import Row

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
                        "struct": [{"name": name, "dtype": "string"} for name in ("name", "arguments")],
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
    """The row as columns of plain types."""
    return {key: jsonl.dumps(value).decode() if key in AS_TEXT else value for key, value in row.items()}
