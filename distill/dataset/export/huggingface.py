"""Rows of a Hugging Face dataset, as `load_dataset` and TRL's SFTTrainer take them.

`messages` stays a list. `tools`, `metadata` and `outcome` become JSON strings: their keys differ between rows, and
Arrow would give every row the keys of all others. TRL parses `tools` itself.
"""

from typing import Any

from distill.records import jsonl

AS_TEXT = ("tools", "metadata", "outcome")


def export(row: dict[str, Any]) -> dict[str, Any]:
    """The row as columns of plain types."""
    return {key: jsonl.dumps(value).decode() if key in AS_TEXT else value for key, value in row.items()}
