"""`list` (in order) and `set` (in any order): every expected item and no other. Items are numbers or folded texts.

An answer may be a JSON array, a set in LaTeX, lines with bullets, or items between commas, semicolons (Chinese and
Arabic ones, too) and a last `and`.
"""

import re
from collections import Counter
from functools import partial
from itertools import islice, product

import orjson

from distill.answers import final, number
from distill.answers.exact import fold
from distill.records.types import Metadata

_BULLET = re.compile(r"^\s*(?:[-*•+]|\d+[.)])\s+")
_SEPARATORS = [
    re.compile(r"[;；؛\n]"),
    re.compile(r"[;；؛\n，、،]|,(?!\d{3}\b)"),
    re.compile(r"[;；؛\n，、،,]"),
]
_PADDED = re.compile(r"0\d")
"""The second part of 1,000 split at its comma, by which it is known for a number."""
_SPACES = re.compile(r"[ \t]+")
"""But not those that group the digits of a number."""
_AND = re.compile(r"\s(?:and|&)\s", re.IGNORECASE)
_MOST_ANDS = 8
"""Of those in one part, each of which may be the separator: a long answer is read in linear time."""
_LEADING_AND = re.compile(r"^(?:and|&)\s", re.IGNORECASE)
_QUOTES = "\"'“”"
_BRACKETS = {"[": "]", "(": ")", "{": "}"}


def faults(metadata: Metadata) -> list[str]:
    """The fault of an expected answer that holds no items."""
    wanted = metadata["expected_answer"]
    items = wanted if isinstance(wanted, list) else [wanted] if isinstance(wanted, str) else []
    if not items or not all(isinstance(item, str | int | float) and str(item).strip() for item in items):
        return ['/metadata/expected_answer: must be an array of strings and numbers, or a text such as "tea, milk"']
    return []


def items(text: str) -> list[tuple[str, ...]]:
    """The possible readings of a text as a list, each once: split at semicolons and line breaks, at commas that do not group
    digits, or at every comma; each without ` and ` as a separator, with all in the last part, and with one of them.
    """
    text = text.strip().strip("`").strip()
    if r"\{" in text:  # a set in LaTeX
        text = final.plain(text).strip("$ ")
    if text.startswith("["):
        try:
            parsed = orjson.loads(text)
        except orjson.JSONDecodeError:
            pass
        else:
            return [tuple(map(str, parsed))]
    if text[:1] in _BRACKETS and text.endswith(_BRACKETS[text[:1]]):
        text = text[1:-1]
    text = "\n".join(_BULLET.sub("", line) for line in text.splitlines())
    readings = []
    for separator in _SEPARATORS:
        parts = [_SPACES.sub(" ", part).strip() for part in separator.split(text) if part.strip()]
        if parts and not (separator is _SEPARATORS[-1] and any(_PADDED.match(part) for part in parts)):
            plain = [*parts[:-1], _LEADING_AND.sub("", parts[-1])]
            *others, last = plain
            at_one = [
                [*others, last[: found.start()], last[found.end() :]]
                for found in islice(_AND.finditer(last), _MOST_ANDS)
            ]
            readings += [plain, [*others, *_AND.split(last)], *at_one]
    return list(dict.fromkeys(map(tuple, readings)))


def _why_not(answer: str, metadata: Metadata, key: type[list[str]] | type[set[str]]) -> str | None:
    """None where two readings are equal as `key`, else what differs between those that are nearest to each other."""
    expected = metadata["expected_answer"]
    wanted = [tuple(map(str, expected))] if isinstance(expected, list) else items(expected)
    canonical = ([key(map(_canonical, reading)) for reading in readings] for readings in (wanted, items(answer)))
    pairs = list(product(*canonical))
    if any(reading and reading == given for reading, given in pairs):
        return None
    differences = [
        (Counter(reading) - Counter(given), Counter(given) - Counter(reading)) for reading, given in pairs
    ] or [(Counter(), Counter())]
    missing, extra = min(differences, key=lambda pair: pair[0].total() + pair[1].total())
    named = [f"{what} {_shown(part)}" for what, part in (("missing", missing), ("not expected", extra)) if part]
    return "; ".join(named) or ("the items are in another order" if pairs else "no items")


why_not_in_order = partial(_why_not, key=list)
why_not_in_any_order = partial(_why_not, key=set)
"""None where some reading of the answer has the expected items: in their order, or in any."""


def _shown(some: Counter[str]) -> str:
    names = [repr(name[:40]) for name in sorted(some.elements())]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _canonical(item: str) -> str:
    """A form in which equal items are equal: a number without zeros at its end, or folded text."""
    bare = item.lstrip(_QUOTES).rstrip(f"{_QUOTES}. ")
    value = number.number(bare) if number.is_plain(bare) else None
    return fold(item) if value is None else format(value.normalize(), "f")
