"""Which rows the student learns from. Every check that is on judges every row: a reject carries every reason."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from distill import checks
from distill.dataset import verdict
from distill.dataset.checks import CHECKS, duplicate
from distill.dataset.checks.context import Context
from distill.dataset.verdict import Row, Verdict
from distill.records import jsonl
from distill.records.faults import InputError
from distill.records.ids import canonical

if TYPE_CHECKING:
    from distill.student.tokenizer import Tokenizer


def read(path: str) -> Iterator[Row]:
    """The rows of data/converted.jsonl. Raises InputError on a bad row, or on one that is held out."""
    for number, row in jsonl.read_numbered(path, "row"):
        if row["split"] != "train":
            raise InputError(f"{path}:{number}: /split: '{row['split']}' rows are held out and never trained on")
        yield row


def context(params: dict[str, Any], rows: Callable[[], Iterable[Row]]) -> Context:
    """What the checks that are on need to know beyond a row; `rows()` starts a new pass over all of them."""
    modes, student = params["filter"], params["student"]
    found = {} if modes["duplicate"] == "off" else duplicate.copies(rows())
    own = {} if modes["own"] == "off" else checks.load("checks.py")
    known = Context(copies=found, own=own, max_tool_errors=modes["max_tool_errors"])
    if modes["length"] == modes["tools_shown"] == "off":
        return known
    from distill.student.render import count_tokens
    from distill.student.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(student["path"], student["template"])
    return replace(
        known,
        tokens=lambda row: count_tokens(row, tokenizer),
        max_length=student["max_length"],
        offer=_offers(tokenizer),
    )


def _offers(tokenizer: "Tokenizer") -> Callable[[list[dict[str, Any]]], str | None]:
    """The prompt that offers a list of tools, rendered once for all rows that have the same ones."""
    from distill.student.render import offered

    known: dict[bytes, str | None] = {}

    def offer(tools: list[dict[str, Any]]) -> str | None:
        key = canonical(tools)
        if key not in known:
            known[key] = offered(tools, tokenizer)
        return known[key]

    return offer


def judge(rows: Iterable[Row], modes: dict[str, str], context: Context) -> Iterator[Verdict]:
    """The verdict on each row, in order: every check that is on has looked at it."""
    on = [(name, check.check) for name, check in CHECKS.items() if modes[name] != "off"]
    for row in rows:
        faults = [(name, fault) for name, check in on if (fault := check(row, context)) is not None]
        yield verdict.of(row, faults, modes)


def report(verdicts: Sequence[Verdict], modes: dict[str, str]) -> dict[str, Any]:
    """Counts: rows in and out; by check, the rows it rejects, it alone rejects, it masks, and those left after it."""
    names = [name for name in CHECKS if modes[name] != "off"]
    rejected, alone, masked, first = (dict.fromkeys(names, 0) for _ in range(4))
    for found in verdicts:
        for reason in found.reasons:
            rejected[reason["check"]] += 1
        for name in found.masks:
            masked[name] += 1
        if found.reasons:
            first[found.reasons[0]["check"]] += 1
        if len(found.reasons) == 1:
            alone[found.reasons[0]["check"]] += 1
    rows, left, funnel = len(verdicts), len(verdicts), []
    for name in names:
        left -= first[name]
        funnel.append({"check": name, "left": left, "rejected": rejected[name], "alone": alone[name]})
    return {
        "rows": rows,
        "kept": left,
        "rejected": rows - left,
        "kept_share": round(left / rows, 6),
        "checks": {name: {"rejected": rejected[name], "alone": alone[name], "masked": masked[name]} for name in names},
        "funnel": funnel,
    }


def table(report: dict[str, Any]) -> str:
    """The funnel as lines of text."""
    lines = [f"{'check':14}{'rejected':>10}{'alone':>8}{'left':>8}", f"{'(rows in)':32}{report['rows']:>8}"]
    lines += [
        f"{step['check']:14}{step['rejected']:>10}{step['alone']:>8}{step['left']:>8}" for step in report["funnel"]
    ]
    return "\n".join(lines)


def nothing_kept(report: dict[str, Any]) -> str:
    """Why no row was kept and what to do, the check that rejected most first."""
    by_count = sorted(report["funnel"], key=lambda step: -step["rejected"])
    lines = [f"nothing kept of {report['rows']} rows:"]
    lines += [
        f"  {step['check']} rejected {step['rejected']}: {CHECKS[step['check']].ADVICE}"
        for step in by_count
        if step["rejected"]
    ]
    lines.append(
        "  data/rejected.jsonl has every row with its reasons; filter.<check>: off skips a check (README: Filters)"
    )
    return "\n".join(lines)
