"""What the codes in the records mean, in the words that the page uses."""

from typing import Any

from distill.records import schema

FATES = {
    "trained": "Used for training",
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
}
CHECKS = {
    "finished": "Not finished",
    "final_answer": "No final answer",
    "paired": "Call without its result",
    "calls": "Invalid tool call",
    "answer": "Wrong answer",
    "duplicate": "Duplicate",
    "length": "Too long",
}
PASSED = {
    "finished": "Finished",
    "final_answer": "Has a final answer",
    "paired": "Every call has its result",
    "calls": "Tool calls are valid",
    "answer": "Answer is correct",
    "duplicate": "Not a duplicate",
    "length": "Fits the student’s context",
}
WHO = {
    "base": ("Base", "the student’s model before training"),
    "student": ("Student", "the same small model after training"),
    "teacher": ("Teacher", "the model whose conversations it learned from"),
}
TRAINING = {
    "rows": ("Rows", "trained on"),
    "validation_rows": ("Validation rows", "of the training split, watched and not trained on"),
    "epochs": ("Epochs", "passes over the rows"),
    "steps": ("Optimizer steps", ""),
    "tokens": ("Tokens", "read in one epoch"),
    "labels": ("Tokens learned", "of those, what the teacher said"),
    "trainable": ("Trained parameters", "of the adapter"),
    "parameters": ("All parameters", "of student and adapter"),
    "validation_loss": ("Validation loss", "after the last epoch"),
}


def check_rules() -> dict[str, str]:
    """What each filter check asks of a row, as the schema of params.yaml describes it."""
    described = schema.load("params")["properties"]["filter"]["properties"]
    return {check: field.get("description", "") for check, field in described.items()}


def param_rows(params: dict[str, Any]) -> list[tuple[str, str, str]]:
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
