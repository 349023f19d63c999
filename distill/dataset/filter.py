"""Which rows the student learns from.

Two steps. `run_checks`: every check that is on looks at every row by itself, so a rejected row carries every reason.
`settle`: the rows that are left compete in the contests, since which of several duplicates stays depends on all of them.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from sys import intern
from typing import Any

from distill import checks
from distill.dataset import facts, verdict
from distill.dataset.checks import CHECKS, CONTESTS, answer, duplicate, on, prefilter, texts
from distill.dataset.checks.context import CheckContext
from distill.dataset.facts import Facts
from distill.dataset.held_out import HeldOutPrompt, Sample, of_files, of_prompt
from distill.dataset.held_out_index import HeldOutIndex
from distill.dataset.token_counts import opened
from distill.dataset.verdict import Row, Verdict, rejected
from distill.records import jsonl
from distill.records.faults import InputError
from distill.records.types import Params
from distill.student.render import learns_calls
from distill.student.serving.reply import refuse_unlearnable, unreadable_calls
from distill.student.tokenizer import load_tokenizer

PROMPTS, CONVERTED = "data/prompts.jsonl", "data/converted.jsonl"


def context(params: Params) -> CheckContext:
    """What the checks that are on need beyond a row. Raises InputError where some of it is missing."""
    modes, student = params["filter"], params["student"]
    own = {} if modes["own"] == "off" else checks.load("checks.py")
    held_out, sources = _prompts(modes)
    context = CheckContext(own=own, max_tool_errors=modes["max_tool_errors"], held_out=held_out, sources=sources)
    if modes["length"] == modes["tools_shown"] == "off":
        return context
    tokenizer = load_tokenizer(student["path"], student["template"])
    refuse_unlearnable(tokenizer)
    counts = opened(student["path"], tokenizer, student["max_length"]) if modes["length"] != "off" else None
    unreadable = unreadable_calls(tokenizer, params["runtime"]["student_url"])
    return replace(context, counts=counts, max_length=student["max_length"], tokenizer=tokenizer, unreadable=unreadable)


def _prompts(modes: Mapping[str, Any]) -> tuple[HeldOutIndex, dict[str, str]]:
    """The held-out prompts, and the seed file of each training prompt. Raises InputError where a file that a check needs
    is missing; rollouts from elsewhere have no prompts, and need none while `contaminated` is off."""
    decontaminates = modes["contaminated"] != "off"
    held_out: list[HeldOutPrompt] = of_files(modes["decontaminate_against"]) if decontaminates else []
    sources: dict[str, str] = {}
    sample = Sample()
    for prompt in jsonl.read(PROMPTS, "prepared_prompt") if decontaminates or Path(PROMPTS).exists() else ():
        if prompt["split"] == "train":
            sources[prompt["id"]] = intern(prompt["source"].rpartition(":")[0])
            sample.add(prompt)
        elif decontaminates:
            held_out.append(of_prompt(prompt))
    return HeldOutIndex(held_out, sample.texts), sources


def run_checks(rows: Iterable[Row], modes: Mapping[str, Any], context: CheckContext) -> Iterator[tuple[Facts, Verdict]]:
    """The facts of each row, and the verdict of the checks that are on, without the contests; in the order of the rows.
    Raises InputError for rows whose calls the student is not to learn."""
    chosen = {name: CHECKS[name] for name in on(modes) if name in CHECKS}
    counted = chosen.pop("length", None)
    all_checks = [(name, module.check) for name, module in chosen.items()]
    unfiltered = [(name, module.check) for name, module in chosen.items() if not hasattr(module, "PREFILTER")]
    suspicious = prefilter.any_of(module.PREFILTER for module in chosen.values() if hasattr(module, "PREFILTER"))
    needs_digest = modes["duplicate"] != "off"
    for row in rows:
        if context.unreadable and learns_calls(row):
            raise InputError(context.unreadable)
        contents, arguments = texts.contents_and_arguments(row)
        checks = all_checks if suspicious(contents, arguments) else unfiltered
        faults = [(name, fault) for name, check in checks if (fault := check(row, context)) is not None]
        digest = duplicate.digest(row, contents) if needs_digest else None
        found = verdict.of(row, faults, modes)
        # A masked turn may be one that cannot be rendered, such as a call that is no JSON.
        learned = verdict.masked(row, found.turns) if found.turns else row
        if counted and (fault := counted.check(learned, context)):
            found = verdict.of(row, [*faults, ("length", fault)], modes)
        count = context.counts(learned) if context.counts else None
        length = count if isinstance(count, int) else None  # the template cannot render the row
        yield facts.of(row, context.sources, length, digest), _without_unasked(found)


def _without_unasked(found: Verdict) -> Verdict:
    """The judge is not asked about a row that other checks reject, so that is no reason of its own."""
    if len(found.reasons) < 2:
        return found
    return found._replace(reasons=[reason for reason in found.reasons if reason["detail"] != answer.UNASKED])


def settle(
    checked: Sequence[tuple[Facts, Verdict]], rows: Callable[[], Iterable[Row]], modes: Mapping[str, Any]
) -> list[Verdict]:
    """The final verdicts: each contest that is on rejects some of the rows that nothing has rejected so far.

    Raises InputError where a rollout occurs twice.
    """
    verdicts = [verdict for _, verdict in checked]
    if len({facts.rollout_id for facts, _ in checked}) < len(checked):
        counts = Counter(facts.rollout_id for facts, _ in checked)
        twice = [identity for identity, count in counts.items() if count > 1]
        raise InputError(f"{CONVERTED}: /rollout_id: {identity} occurs twice; run convert again" for identity in twice)
    for name in on(modes):
        if name in CONTESTS:
            standing = {place: facts for place, (facts, _) in enumerate(checked) if not verdicts[place].reasons}
            for place, fault in CONTESTS[name].losers(standing, rows, modes).items():
                verdicts[place] = rejected(name, fault)
    return verdicts
