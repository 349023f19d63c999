"""reports/filter.json: how many rows each check rejected, and how the kept rows differ from all rows."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from distill.dataset.checks import CHECKS, CONTESTS, on
from distill.dataset.facts import Facts
from distill.dataset.verdict import Verdict

Counts = dict[str, dict[str, int]]
MOST_NAMED = 50
"""Sources and teachers listed by name, at most; the rows of all others are counted together."""
OTHERS = "(others)"
BINS = 24
"""Bars of a histogram, at most."""
PASS_RATES = ("none", "up to a third", "up to two thirds", "below all", "all", NOT_GRADED := "not graded")
"""Groups of prompts by the share of their rows whose answer is right."""


def report(facts: Sequence[Facts], verdicts: Sequence[Verdict], filters: Mapping[str, Any]) -> dict[str, Any]:
    """The content of reports/filter.json: counts over the rows and the verdicts on them, in the same order."""
    names = on(filters)
    rejected = Counter(reason["check"] for verdict in verdicts for reason in verdict.reasons)
    masked = Counter(name for verdict in verdicts for name in verdict.masks)
    first = Counter(verdict.reasons[0]["check"] for verdict in verdicts if verdict.reasons)
    alone = Counter(verdict.reasons[0]["check"] for verdict in verdicts if len(verdict.reasons) == 1)
    rows, left, funnel = len(verdicts), len(verdicts), []
    for name in names:
        left -= first[name]
        funnel.append({"check": name, "left": left, "rejected": rejected[name], "alone": alone[name]})
    kept = [row for row, verdict in zip(facts, verdicts, strict=True) if not verdict.reasons]
    cost = _cost(facts)
    return {
        "rows": rows,
        "kept": left,
        "rejected": rows - left,
        "kept_share": round(left / rows, 6),
        "cost_usd": cost,
        "cost_per_kept_row_usd": round(cost / left, 9) if cost is not None and left else None,
        "checks": {name: {"rejected": rejected[name], "alone": alone[name], "masked": masked[name]} for name in names},
        "funnel": funnel,
        "by_source": _counted(facts, kept, lambda row: row.source),
        "by_teacher": _counted(facts, kept, lambda row: row.teacher),
        "by_pass_rate": _by_pass_rate(facts, kept),
        "by_length": _histogram(facts, kept, lambda row: row.length),
        "by_turns": _histogram(facts, kept, lambda row: row.turns),
    }


def csv(counts: Counts, unit: str) -> str:
    """A histogram as a CSV table for `dvc plots`, which would draw all lists of one JSON file as one."""
    lines = [f"{number},{found['rows']},{found['kept']}" for number, found in counts.items()]
    return "\n".join([f"{unit},rows,kept", *lines, ""])


def table(report: dict[str, Any]) -> str:
    """The funnel as lines of text, with advice for each check that rejected half of the rows or more."""
    lines = [f"{'check':14}{'rejected':>10}{'alone':>8}{'left':>8}", f"{'(rows in)':32}{report['rows']:>8}"]
    lines += [
        f"{step['check']:14}{step['rejected']:>10}{step['alone']:>8}{step['left']:>8}" for step in report["funnel"]
    ]
    if report["kept"]:
        lines += _advice([step for step in report["funnel"] if 2 * step["rejected"] >= report["rows"]])
    return "\n".join(lines)


def nothing_kept(report: dict[str, Any]) -> str:
    """Why no row was kept and what to do, the check that rejected most first."""
    by_count = sorted(report["funnel"], key=lambda step: -step["rejected"])
    lines = [f"nothing kept of {report['rows']} rows:", *_advice([step for step in by_count if step["rejected"]])]
    lines.append(
        "  data/rejected.jsonl has every row with its reasons; filter.<check>: off skips a check (docs/filters.md)"
    )
    return "\n".join(lines)


def _advice(steps: Iterable[dict[str, Any]]) -> list[str]:
    return [
        f"  {step['check']} rejected {step['rejected']}: {(CHECKS | CONTESTS)[step['check']].ADVICE}" for step in steps
    ]


def _cost(facts: Iterable[Facts]) -> float | None:
    """US dollars that all rows cost; None where the cost of one of them is not known."""
    costs = [row.cost_usd for row in facts]
    return None if None in costs else round(math.fsum(cost for cost in costs if cost is not None), 9)


def _counted(facts: Sequence[Facts], kept: Sequence[Facts], of: Callable[[Facts], str]) -> Counts:
    """Rows and kept rows by a name (`of` a row), the most frequent first."""
    rows, kept_rows = Counter(map(of, facts)), Counter(map(of, kept))
    names = sorted(rows, key=lambda name: (-rows[name], name))
    counts = {name: {"rows": rows[name], "kept": kept_rows[name]} for name in names[:MOST_NAMED]}
    if others := names[MOST_NAMED:]:
        counts[OTHERS] = {"rows": sum(rows[name] for name in others), "kept": sum(kept_rows[name] for name in others)}
    return counts


def _by_pass_rate(facts: Sequence[Facts], kept: Sequence[Facts]) -> Counts:
    """Prompts, rows and kept rows by the share of the prompt's rows that are right."""
    graded = [row for row in facts if row.correct is not None]
    samples = Counter(row.prompt_id for row in graded)
    right = Counter(row.prompt_id for row in graded if row.correct)

    def pass_rate(prompt: str) -> str:
        return _pass_rate(right[prompt], samples[prompt])

    prompts = Counter(map(pass_rate, {row.prompt_id for row in facts}))
    rows, kept_rows = (Counter(pass_rate(row.prompt_id) for row in group) for group in (facts, kept))
    return {
        name: {"prompts": prompts[name], "rows": rows[name], "kept": kept_rows[name]}
        for name in PASS_RATES
        if rows[name]
    }


def _pass_rate(right: int, samples: int) -> str:
    """The group in PASS_RATES of a prompt with `right` of its `samples` right."""
    if not samples:
        return NOT_GRADED
    if right in (0, samples):
        return PASS_RATES[4 if right else 0]
    return PASS_RATES[1 if 3 * right <= samples else 2 if 3 * right <= 2 * samples else 3]


def _histogram(facts: Sequence[Facts], kept: Sequence[Facts], of: Callable[[Facts], int | None]) -> Counts:
    """Rows and kept rows by a number, in bins as wide as a power of two; each bin by its smallest number."""
    values = [value for row in facts if (value := of(row)) is not None]
    if not values:
        return {}
    width = 1
    while max(values) // width - min(values) // width >= BINS:
        width *= 2
    rows = Counter(value // width for value in values)
    kept_rows = Counter(value // width for row in kept if (value := of(row)) is not None)
    places = range(min(rows), max(rows) + 1)
    return {str(place * width): {"rows": rows[place], "kept": kept_rows[place]} for place in places}
