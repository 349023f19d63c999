"""Which rows the student learns from.

Two steps. Every check that is on judges every row by itself: a reject carries every reason. Then the rows that stay
contend with each other, since which of them stay depends on all that stay.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from sys import intern
from typing import TYPE_CHECKING, Any

from distill import checks
from distill.dataset import facts, verdict
from distill.dataset.checks import CHECKS, CONTESTS, duplicate, on
from distill.dataset.checks.context import Context
from distill.dataset.facts import Facts
from distill.dataset.held_out import Exam, HeldOut, of_files, of_prompt
from distill.dataset.verdict import Row, Verdict
from distill.records import jsonl
from distill.records.faults import InputError
from distill.records.ids import canonical

if TYPE_CHECKING:
    from distill.student.tokenizer import Tokenizer

PROMPTS = "data/prompts.jsonl"


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
    held_out, sources = _prompts(modes)
    known = Context(copies=found, own=own, max_tool_errors=modes["max_tool_errors"], held_out=held_out, sources=sources)
    if modes["length"] == modes["tools_shown"] == "off":
        return known
    from distill.student.render import count_tokens
    from distill.student.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(student["path"], student["template"])
    return replace(
        known,
        tokens=_once(lambda row: count_tokens(row, tokenizer)),
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


def _once(count: Callable[[Row], int]) -> Callable[[Row], int]:
    """Counts a row once, though the check and the report both ask."""
    last: list[tuple[Row, int]] = []

    def counted(row: Row) -> int:
        if not last or last[0][0] is not row:
            last[:] = [(row, count(row))]
        return last[0][1]

    return counted


def _prompts(modes: Mapping[str, Any]) -> tuple[HeldOut, dict[str, str]]:
    """What is held out, and the seed file of each training prompt. Raises InputError where what a check needs is not
    there; rollouts from elsewhere have no prompts, and need none while `contaminated` is off."""
    asks = modes["contaminated"] != "off"
    exams: list[Exam] = of_files(modes["decontaminate_against"]) if asks else []
    sources: dict[str, str] = {}
    for prompt in jsonl.read(PROMPTS, "prepared_prompt") if asks or Path(PROMPTS).exists() else ():
        if prompt["split"] == "train":
            sources[prompt["id"]] = intern(prompt["source"].rpartition(":")[0])
        elif asks:
            exams.append(of_prompt(prompt))
    return HeldOut(exams), sources


def judge(rows: Iterable[Row], modes: Mapping[str, Any], context: Context) -> Iterator[tuple[Facts, Verdict]]:
    """The facts of each row and the verdict on it by itself, in order: every check that is on has looked at it."""
    checks = [(name, CHECKS[name].check) for name in on(modes) if name in CHECKS]
    for row in rows:
        faults = [(name, fault) for name, check in checks if (fault := check(row, context)) is not None]
        yield facts.of(row, context.sources, _length(row, modes, context)), verdict.of(row, faults, modes)


def _length(row: Row, modes: Mapping[str, Any], context: Context) -> int | None:
    """Tokens of the row, where the check `length` counts them and the template can say it."""
    if modes["length"] == "off":
        return None
    from distill.student.template import Unrenderable

    try:
        return context.tokens(row)
    except Unrenderable:
        return None


def settle(
    judged: Sequence[tuple[Facts, Verdict]], rows: Callable[[], Iterable[Row]], modes: Mapping[str, Any]
) -> list[Verdict]:
    """The final verdicts: each contest that is on rejects some of the rows that nothing has rejected so far."""
    verdicts = [found for _, found in judged]
    for name in on(modes):
        if name in CONTESTS:
            standing = {place: known for place, (known, _) in enumerate(judged) if not verdicts[place].reasons}
            for place, fault in CONTESTS[name].losers(standing, rows, modes).items():
                verdicts[place] = verdict.rejected(name, fault)
    return verdicts
