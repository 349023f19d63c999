"""Which rows the student learns from.

Two steps. Every check that is on judges every row by itself: a reject carries every reason. Then the rows that stay
contend with each other, since which of them stay depends on all that stay.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from sys import intern
from typing import TYPE_CHECKING, Any

from distill import checks
from distill.dataset import facts, verdict
from distill.dataset.checks import CHECKS, CONTESTS, duplicate, on, prefilter, texts
from distill.dataset.checks.context import CheckContext
from distill.dataset.facts import Facts
from distill.dataset.held_out import HeldOutIndex, HeldOutPrompt, of_files, of_prompt
from distill.dataset.verdict import Row, Verdict
from distill.records import jsonl
from distill.records.faults import InputError
from distill.records.ids import canonical

if TYPE_CHECKING:
    from distill.student.tokenizer import Tokenizer

PROMPTS = "data/prompts.jsonl"


def context(params: dict[str, Any]) -> CheckContext:
    """What the checks that are on need to know beyond a row."""
    modes, student = params["filter"], params["student"]
    own = {} if modes["own"] == "off" else checks.load("checks.py")
    held_out, sources = _prompts(modes)
    known = CheckContext(own=own, max_tool_errors=modes["max_tool_errors"], held_out=held_out, sources=sources)
    if modes["length"] == modes["tools_shown"] == "off":
        return known
    from distill.dataset.token_counts import opened
    from distill.student.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(student["path"], student["template"])
    counts = opened(student["path"], tokenizer, student["max_length"])
    return replace(
        known,
        tokens=_once(counts),
        flush=counts.flush,
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


def _prompts(modes: Mapping[str, Any]) -> tuple[HeldOutIndex, dict[str, str]]:
    """What is held out, and the seed file of each training prompt. Raises InputError where what a check needs is not
    there; rollouts from elsewhere have no prompts, and need none while `contaminated` is off."""
    asks = modes["contaminated"] != "off"
    exams: list[HeldOutPrompt] = of_files(modes["decontaminate_against"]) if asks else []
    sources: dict[str, str] = {}
    for prompt in jsonl.read(PROMPTS, "prepared_prompt") if asks or Path(PROMPTS).exists() else ():
        if prompt["split"] == "train":
            sources[prompt["id"]] = intern(prompt["source"].rpartition(":")[0])
        elif asks:
            exams.append(of_prompt(prompt))
    return HeldOutIndex(exams), sources


def judge(rows: Iterable[Row], modes: Mapping[str, Any], context: CheckContext) -> Iterator[tuple[Facts, Verdict]]:
    """The facts of each row and the verdict on it by itself, in order: every check that is on has looked at it."""
    chosen = {name: CHECKS[name] for name in on(modes) if name in CHECKS}
    every = [(name, module.check) for name, module in chosen.items()]
    unfiltered = [(name, module.check) for name, module in chosen.items() if not hasattr(module, "PREFILTER")]
    suspicious = prefilter.any_of(module.PREFILTER for module in chosen.values() if hasattr(module, "PREFILTER"))
    compares = modes["duplicate"] != "off"
    for row in rows:
        said, asked = texts.contents_and_arguments(row)
        checks = every if suspicious(said, asked) else unfiltered
        faults = [(name, fault) for name, check in checks if (fault := check(row, context)) is not None]
        digest = duplicate.digest(row, said) if compares else None
        yield facts.of(row, context.sources, _length(row, modes, context), digest), verdict.of(row, faults, modes)


def _length(row: Row, modes: Mapping[str, Any], context: CheckContext) -> int | None:
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
    """The final verdicts: each contest that is on rejects some of the rows that nothing has rejected so far.

    Raises InputError where a rollout occurs twice.
    """
    verdicts = [found for _, found in judged]
    if len({known.rollout_id for known, _ in judged}) < len(judged):
        counts = Counter(known.rollout_id for known, _ in judged)
        twice = [identity for identity, count in counts.items() if count > 1]
        raise InputError(f"/rollout_id: {identity} occurs twice; run convert again" for identity in twice)
    for name in on(modes):
        if name in CONTESTS:
            standing = {place: known for place, (known, _) in enumerate(judged) if not verdicts[place].reasons}
            for place, fault in CONTESTS[name].losers(standing, rows, modes).items():
                verdicts[place] = verdict.rejected(name, fault)
    return verdicts
