"""The numbers of the overview, each computed once and ready to be drawn."""

from itertools import pairwise
from typing import Any

from distill.dataset import row_groups
from distill.report import words
from distill.report.embed import group_keys
from distill.student.evaluation.score import LOST

MOST_POINTS = 400
"""Points of a curve."""


def summary(report: dict[str, Any]) -> dict[str, Any]:
    """The numbers that the overview shows beside the records: {contenders, gap, funnel, curves, ...}."""
    evaluation, params = report["evaluation"], report["params"] or {}
    student = (evaluation or {}).get("student_model") or params.get("student", {}).get("path")
    teacher = (evaluation or {}).get("teacher_model") or params.get("model")
    return {
        "student": student,
        "teacher": teacher,
        "contenders": [(who, *words.WHO[who], evaluation[who]) for who in words.WHO] if evaluation else [],
        "gap": _gap(evaluation),
        "funnel": _funnel(report),
        **_checks(report["filter"]),
        "rows_by": _rows_by(report["filter"]),
        "lost": row_groups.lost(report["filter"]) if report["filter"] else [],
        "curves": _curves(report["loss"]),
        "cost_per_row": _cost_per_row(report),
        "judge_costs": _judge_costs(report),
        "tally": report["tally"],
        "shown": len(report["conversations"]),
        "keys": group_keys(report["conversations"]),
        "stops": _stops(evaluation),
        "left_out": LOST,
        "rules": words.check_rules(),
        "settings": words.param_rows(params),
    }


def _gap(evaluation: dict[str, Any] | None) -> dict[str, Any] | None:
    """The closed share of the gap, and the accuracies between which it lies; None where there is no gap."""
    if not evaluation or evaluation["gap_closed"] is None:
        return None
    places = {who: evaluation[who]["accuracy"] for who in words.WHO}
    return {"share": evaluation["gap_closed"], "interval": evaluation["gap_closed_ci"], **places}


def _funnel(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Steps from prompts to training rows: {label, count, unit, query, joined, lost}; `query` finds the lost ones in the
    browser, `joined` are those that came from elsewhere."""
    steps = []
    prompts, tally = report["prompts"]["train"], report["tally"]
    if prompts:
        steps.append(_step("Prompts for training", prompts, "prompts"))
    if tally.asked:
        steps.append(_step("Asked of the teacher", len(tally.asked_prompts), "prompts"))
        steps.append(_step("Conversations recorded", tally.asked, "conversations"))
    if report["filter"]:
        left = report["filter"]["rows"]
        label = f"Turned into rows{f', with {tally.imported:,} imported' if tally.imported else ''}"
        steps.append(_step(label, left, "rows", "fate=failed", joined=tally.imported))
        for step in report["filter"]["funnel"]:
            if step["left"] < left:  # checks that rejected nothing are in the table below
                label = words.PASSED.get(step["check"], step["check"])
                steps.append(_step(label, step["left"], "rows", f"why={step['check']}"))
            left = step["left"]
        steps.append(_step("Training rows", report["filter"]["kept"], "rows"))
    for before, step in pairwise(steps):
        came = before["count"] + step["joined"]  # else imported rows would make up for conversations that failed
        if before["unit"] == step["unit"] or step["count"] < came:
            step["lost"] = came - step["count"]
    return steps


def _checks(filtered: dict[str, Any] | None) -> dict[str, Any]:
    """The checks of the filter: those that `found` something, the `silent` ones, and that which rejected the most rows."""
    checks = filtered["checks"] if filtered else {}
    found = {check: counts for check, counts in checks.items() if counts["rejected"] or counts["masked"]}
    return {
        "found": found,
        "silent": {check: counts for check, counts in checks.items() if check not in found},
        "worst": max(found, key=lambda check: found[check]["rejected"]) if filtered and filtered["rejected"] else None,
    }


def _rows_by(filtered: dict[str, Any] | None) -> dict[str, dict[str, dict[str, int]]]:
    """Title -> counts of the rows by a property; without properties that all rows share."""
    if not filtered:
        return {}
    tables = {title: filtered[name] for name, title in words.ROWS_BY.items()} | filtered["by_metadata"]
    return {title: groups for title, groups in tables.items() if len(groups) > 1}


def _stops(evaluation: dict[str, Any] | None) -> list[str]:
    """The stop reasons of the held-out conversations of base, student and teacher, in a fixed order."""
    stops = {stop for who in words.WHO for stop in evaluation[who]["stop_reasons"]} if evaluation else set()
    return [stop for stop in words.STOPS if stop in stops] + sorted(stops - set(words.STOPS))


def _step(label: str, count: int, unit: str, query: str | None = None, joined: int = 0) -> dict[str, Any]:
    return {"label": label, "count": count, "unit": unit, "query": query, "joined": joined, "lost": 0}


def _curves(loss: dict[str, list[float | None]]) -> dict[str, Any] | None:
    """Training and validation loss by step: {first_step, last_step, top, lines}."""
    named = {"Training loss": "loss", "Validation loss": "validation_loss"}
    lines = {name: _points(loss.get("step", []), loss.get(column, [])) for name, column in named.items()}
    lines = {name: points for name, points in lines.items() if points}
    if not lines:
        return None
    return {
        "last_step": max(step for points in lines.values() for step, _ in points),
        "first_step": min(step for points in lines.values() for step, _ in points),
        "top": max(loss for points in lines.values() for _, loss in points) or 1.0,
        "lines": [{"name": name, "points": points} for name, points in lines.items()],
    }


def _points(steps: list[float | None], values: list[float | None]) -> list[tuple[float, float]]:
    """(step, loss) pairs, at most MOST_POINTS of them: means of neighbours where there are more."""
    points = [
        (step, value) for step, value in zip(steps, values, strict=False) if step is not None and value is not None
    ]
    width = -(-len(points) // MOST_POINTS) or 1
    groups = [points[start : start + width] for start in range(0, len(points), width)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def _cost_per_row(report: dict[str, Any]) -> float | None:
    """What a training row of the teacher's cost; those from elsewhere, which it was not paid for, do not share in it."""
    rollouts, kept = report["rollouts"], report["tally"].kept
    return rollouts["cost_usd"] / kept if rollouts and rollouts["cost_usd"] is not None and kept else None


def _judge_costs(report: dict[str, Any]) -> list[tuple[str, float | None]]:
    """Where the judge was asked and what it cost, None where that is not known; nothing where there is no judge."""
    if not report["params"] or report["params"]["judge"]["model"] is None:
        return []
    made = (("in the filter", report["filter"]), ("in the exam", report["evaluation"]))
    return [(where, found["judge_cost_usd"]) for where, found in made if found]
