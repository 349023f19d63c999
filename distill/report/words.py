"""The words that the page uses for the codes in the records."""

from typing import Any

from distill.records import schema
from distill.records.types import Params

FATES = {
    "trained": "Used for training",
    "validation": "Used for validation",
    "rejected": "Rejected",
    "failed": "Failed",
    "held_out": "Held out",
    "waiting": "Not filtered yet",
}
SPLITS = {"train": "Training", "eval": "Held out"}
STOPS = {
    "final_answer": "Gave a final answer",
    "max_turns": "Ran out of turns",
    "truncated": "Cut off at the token limit",
    "refused": "Refused",
    "tool_failure": "Lost its tools",
    "api_error": "The model's API failed",
    "timeout": "Took too long",
    "context_full": "The context was full",
    "unanswered": "Ends with the user",
}
_CHECKS = {
    "finished": ("Not finished", "Finished"),
    "final_answer": ("No final answer", "Has a final answer"),
    "paired": ("Call without its result", "Every call has its result"),
    "calls": ("Invalid tool call", "Tool calls are valid"),
    "tool_errors": ("Too many failed tool calls", "Few tool calls failed"),
    "loop": ("Goes in circles", "Does not go in circles"),
    "answer": ("Wrong answer", "Answer is correct"),
    "refusal": ("Refuses", "Does not refuse"),
    "identity": ("Speaks of itself as a model", "Does not speak of itself as a model"),
    "secrets": ("Holds a credential", "Holds no credential"),
    "pii": ("Holds personal data", "Holds no personal data"),
    "injection": ("Obeys a tool’s result", "Obeys the user, not a tool’s result"),
    "own": ("Fails a check of your own", "Passes your own checks"),
    "contaminated": ("Asks what is held out", "Asks nothing that is held out"),
    "tools_shown": ("Tools the student cannot see", "The student sees its tools"),
    "length": ("Too long, or cannot be rendered", "Fits the student’s context"),
    "duplicate": ("Duplicate", "Not a duplicate"),
    "near_duplicate": ("Nearly the same prompt", "No prompt is nearly the same"),
    "max_per_prompt": ("Not among the best of its prompt", "Among the best of its prompt"),
}
"""What is said of a row that fails a check, and of the rows that have passed it."""
CHECKS = {check: failed for check, (failed, _) in _CHECKS.items()}
PASSED = {check: passed for check, (_, passed) in _CHECKS.items()}
ROWS_BY = {
    "by_source": "Source",
    "by_teacher": "Teacher",
    "by_answer_type": "Type of answer",
    "by_tool": "Tool called",
    "by_pass_rate": "Share of a prompt’s rows that are right",
    "by_turns": "Turns of the assistant, from",
    "by_length": "Tokens as the student reads them, from",
}
WHO = {
    "base": ("Base", "the student’s model before training"),
    "student": ("Student", "the same small model after training"),
    "teacher": ("Teacher", "the model that the student is measured against"),
}
TRAINING = {
    "rows": ("Rows", "trained on"),
    "validation_rows": ("Validation rows", "of the training split, watched and not trained on"),
    "epochs": ("Epochs", "passes over the rows"),
    "steps": ("Optimizer steps", ""),
    "tokens": ("Tokens", "read in one epoch"),
    "labels": ("Tokens learned", "of those, what the assistant said"),
    "trainable": ("Trained parameters", "of the adapter"),
    "parameters": ("All parameters", "of student and adapter"),
    "validation_loss": ("Validation loss", "of the adapter that was kept"),
}


def check_rules() -> dict[str, str]:
    """What each filter check demands of a row, by its description in the schema of params.yaml."""
    described = schema.load("params")["properties"]["filter"]["properties"]
    return {check: field.get("description", "") for check, field in described.items()}


def param_rows(params: Params) -> list[tuple[str, str, str]]:
    """Every parameter as (dotted name, value, description), in the order of params.yaml."""
    fields = schema.load("params")["properties"]
    rows = []
    for name, value in params.items():
        if isinstance(value, dict):
            inner = fields.get(name, {}).get("properties", {})
            rows += [
                (f"{name}.{key}", plain(item), inner.get(key, {}).get("description", "")) for key, item in value.items()
            ]
        else:
            rows.append((name, plain(value), fields.get(name, {}).get("description", "")))
    return rows


def plain(value: Any) -> str:
    """A value from JSON as a person writes it."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
