"""The final answer of a conversation, and whether it is the expected one: graded alike by convert, filter,
evaluate and report.

Strict on purpose: an answer that hedges ("5 or 6"), or holds a number nobody asked for, is wrong. A wrong accept
becomes training data; a wrong reject costs one row.

A type of answer is one module (`list` and `set` share one); see `Kind`.
"""

import difflib
import re
from collections.abc import Callable
from typing import NamedTuple

from distill.answers import choice, date, exact, final, listing, mathematics, number, regex, rubric
from distill.records import thought
from distill.records.faults import InputError
from distill.records.types import Message, Metadata


class Kind(NamedTuple):
    """What there is to know of a type of answer."""

    faults: Callable[[Metadata], list[str]]
    """What is wrong with the expected answer and the options, as `/metadata/…: message`."""
    why_not: Callable[[str, Metadata], str | None] | None
    """Why an answer is not the expected one, in a few words; None where it is. No function: only a judge knows."""
    options: tuple[str, ...] = ()
    """What it reads beside `expected_answer`."""
    find: Callable[[str, Metadata], str | None] | None = None
    """The answer in a text that does not mark it; without it, the whole text."""
    several_lines: bool = False
    """Whether an answer may go on below its first line."""
    latex: bool = False
    """Whether it reads LaTeX."""
    behind_box: Callable[[str], str] | None = None
    """What of the text behind a `\\boxed{}` belongs to the answer in it; without it, nothing."""


TYPES = {
    "exact": Kind(exact.faults, exact.why_not),
    "number": Kind(number.faults, number.why_not, number.OPTIONS, number.find, behind_box=number.behind_box),
    "choice": Kind(choice.faults, choice.why_not, choice.OPTIONS, choice.find),
    "list": Kind(listing.faults, listing.why_not_in_order, several_lines=True),
    "set": Kind(listing.faults, listing.why_not_in_any_order, several_lines=True),
    "date": Kind(date.faults, date.why_not, date.OPTIONS),
    "regex": Kind(regex.faults, regex.why_not),
    "math": Kind(mathematics.faults, mathematics.why_not, several_lines=True, latex=True),
    "judge": Kind(rubric.faults, None, rubric.OPTIONS),
}
_CODE = re.compile(r"^0\d|\d[eE]\d|^\d+[A-Z]$")
OPTIONS = sorted({option for kind in TYPES.values() for option in kind.options})


class Grade(NamedTuple):
    """What a conversation answers, and whether that is correct."""

    answer: str | None
    """The answer as read by the type that accepted it, else what the judge is to compare, else as read by the first type
    that found one; None where there is none."""
    correct: bool | None
    """None without an expected answer, and as long as a judge has not been asked."""
    accepted_by: str | None = None
    """The type of answer that accepted it."""
    why: str | None = None
    """Why it is not correct, in a few words."""


def grade(messages: list[Message], metadata: Metadata) -> Grade:
    """Whether the final answer of a conversation is `metadata.expected_answer`, by `metadata.answer_type`.

    The types of the row are tried in their order, the judge last (and before it `exact`, which is free), and each reads the
    answer in its own way. Without a type: `number` where the expected answer is one, perhaps with a unit, else `exact`.
    Raises InputError where the metadata is not valid.
    """
    text = _last_words(messages)
    if metadata.get("expected_answer") is None:
        return Grade(_answer(text, TYPES["exact"], metadata), None)
    wanted = types(metadata)
    type_faults = [fault for name in wanted for fault in TYPES[name].faults(metadata)]
    if type_faults:
        raise InputError(type_faults)
    causes: dict[str, str] = {}
    answers: list[str] = []
    for name in sorted(wanted, key=lambda name: TYPES[name].why_not is None):
        answer = _answer(text, TYPES[name], metadata)
        if answer is None:
            continue
        answers.append(answer)
        compare = TYPES[name].why_not
        cause = (compare or exact.why_not)(answer, metadata)
        if cause is None:
            return Grade(answer, True, name if compare else "exact")
        if compare is None:
            return Grade(answer, None)
        causes[name] = cause
    why = "; ".join(f"{name}: {cause}" for name, cause in causes.items())
    return Grade(answers[0] if answers else None, False, why=why or None)


def _last_words(messages: list[Message]) -> str:
    """The text of the last assistant message, without a thought that a server or a dataset left in it; empty where it has
    none or still calls a tool."""
    last = messages[-1] if messages else {}
    if last.get("role") != "assistant" or last.get("tool_calls"):
        return ""
    text = thought.apart(last.get("content") or "")[1].strip()
    return "" if text.startswith(thought.OPENED) else text


def _answer(text: str, kind: Kind, metadata: Metadata) -> str | None:
    """The final answer in a text, as a type reads it; None where it says nothing after its last `Answer:`.

    That is the text after the last line that begins with `Answer:`, else what is in the last `\\boxed{}`, else what the type
    finds (the last number, a letter), else the whole text, without the marks of a code block around it. A judge reads all
    that follows `Answer:`, else the whole text.
    """
    if not text:
        return None
    reads_all = kind.why_not is None
    stated = final.behind(text) if reads_all else final.stated(text, kind.several_lines, kind.latex, kind.behind_box)
    if stated is not None:
        return stated or None
    if kind.find:
        return kind.find(text, metadata)
    return text if reads_all else final.unfenced(text)


def faults(metadata: Metadata) -> list[str]:
    """Everything in the metadata that makes every answer wrong or an option useless, as `/metadata/…: message`."""
    misspelled = [f"/metadata/{key}: no such option; did you mean '{near}'?" for key, near in _misspelled(metadata)]
    given = [option for option in OPTIONS if option in metadata]
    if metadata.get("expected_answer") is None:
        unused = given + (["answer_type"] if "answer_type" in metadata else [])
        return misspelled + [
            f"/metadata/{option}: says how to compare, but there is no expected_answer" for option in unused
        ]
    try:
        wanted = types(metadata)
    except InputError as error:
        return [*misspelled, *error.faults]
    accepted = {option for name in wanted for option in TYPES[name].options}
    misplaced = [
        f"/metadata/{option}: goes with answer_type {_types_with(option)}, not with {', '.join(wanted)}"
        for option in given
        if option not in accepted
    ]
    return misspelled + misplaced + [fault for name in wanted for fault in TYPES[name].faults(metadata)]


def _types_with(option: str) -> str:
    return ", ".join(name for name, kind in TYPES.items() if option in kind.options)


def needs_judge(metadata: Metadata) -> bool:
    """Whether an answer may stay open until a judge is asked."""
    return metadata.get("expected_answer") is not None and "judge" in types(metadata)


def types(metadata: Metadata) -> tuple[str, ...]:
    """The types by which the row's answer is compared. Raises InputError for one that does not exist."""
    given = metadata.get("answer_type")
    if given is None:
        expected = metadata["expected_answer"]
        if isinstance(expected, list):
            raise InputError(
                "/metadata/answer_type: with several expected answers, say list (in order) or set; where any one of them is"
                " right, write them as a regex: (?i)WA|Washington"
            )
        if isinstance(expected, bool) or not isinstance(expected, str | int | float):
            raise InputError(exact.faults(metadata))
        if isinstance(expected, int):  # most are, and this is the fastest way to the same
            return ("number",)
        return ("number",) if number.is_measure(str(expected)) and not _is_code(metadata) else ("exact",)
    wanted = tuple(given) if isinstance(given, list) else (given,)
    unknown = [str(name) for name in wanted if not isinstance(name, str) or name not in TYPES]
    if unknown or not wanted:
        raise InputError(f"/metadata/answer_type: '{', '.join(unknown)}' is not one of {', '.join(TYPES)}")
    return wanted


def _is_code(metadata: Metadata) -> bool:
    """Whether the expected answer is a code and not a number: a postal code such as "02134", an article such as "12E4", a
    seat: "12B". With a unit or a tolerance it is none: "100W"."""
    expected = metadata["expected_answer"]
    code = isinstance(expected, str) and _CODE.search(expected) is not None
    return code and not any(option in metadata for option in number.OPTIONS)


def _misspelled(metadata: Metadata) -> list[tuple[str, str]]:
    """(key, the option that was probably meant)"""
    options = [*OPTIONS, "answer_type", "expected_answer"]
    near = [(key, difflib.get_close_matches(key, options, n=1, cutoff=0.85)) for key in metadata if key not in options]
    return [(key, names[0]) for key, names in near if names]
