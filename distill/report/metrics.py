"""The metrics of a whole run, by which experiments are compared."""

from typing import Any

from distill.report.words import WHO


def metrics(
    rollouts: dict[str, Any], filtered: dict[str, Any], training: dict[str, Any], evaluation: dict[str, Any]
) -> dict[str, Any]:
    """The metrics (schemas/metrics.schema.json) from the reports of the stages."""
    return {
        "asked": rollouts["wanted"],
        "failed": rollouts["failed"],
        "cost_usd": rollouts["cost_usd"],
        "kept": filtered["kept"],
        "rejected": filtered["rejected"],
        "validation_loss": training["validation_loss"],
        "accuracy": {who: evaluation[who]["accuracy"] for who in WHO},
        "valid_calls": {who: evaluation[who]["valid_calls"] for who in WHO},
        "gap_closed": evaluation["gap_closed"],
    }
