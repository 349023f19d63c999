"""`date`: the day, month or year that `expected_answer` gives as 2026-01-25, 2026-01 or 2026, in any English form.

25/01/2026 has one reading; 05/01/2026 has one only with `answer_date_order`: "dmy" or "mdy".
"""

import re
from datetime import date

from distill.answers import expected
from distill.answers.signs import typed
from distill.records.types import Metadata

OPTIONS = ("answer_date_order",)
_NAMES = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
          "november", "december")  # fmt: skip
_MONTH = rf"(?P<month>{'|'.join(f'{name[:3]}(?:{name[3:]})?' for name in _NAMES)}|sept)\.?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th|\.(?= ))?"
_YEAR = r"(?P<year>\d{4})"
_FORMS = [
    re.compile(form, re.IGNORECASE)
    for form in (
        rf"(?<!\d){_YEAR}[-/.](?P<month>\d{{1,2}})[-/.](?P<day>\d{{1,2}})(?!\d)",
        rf"(?<!\d){_DAY}(?: of)?[ -]{_MONTH},?[ -]{_YEAR}(?!\d)",
        rf"\b{_MONTH} {_DAY},? {_YEAR}(?!\d)",
        rf"(?<!\d){_YEAR},?[ -]{_MONTH}[ -]{_DAY}(?!\d)",
        r"(?<!\d)(?P<first>\d{1,2})[-/.](?P<second>\d{1,2})[-/.](?P<year>\d{4})(?!\d)",
        rf"\b{_MONTH},? (?:of )?{_YEAR}(?!\d)",
        rf"(?<!\d){_YEAR}-(?P<month>\d{{2}})(?!\d)",
        rf"(?<!\d){_YEAR}(?!\d)",
    )
]
_ISO = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?")
_SEVERAL = re.compile(
    r"(?:\b(?:or|to|and|before|after|between|until|till|than)|(?<!:\d)\d(?:st|nd|rd|th)? ?[-\u2013/,]) ?(?:the )?\0"
    r"|\0 ?(?:(?:or|to|until|till|through)\b|[-\u2013] ?[\d\0])",
    re.IGNORECASE,
)
"""What makes a date (\\0) one of several, or a bound: "between \\0 and \\0", "before \\0"; a time before it, 14:05, does not."""
_NEGATION = re.compile(r"\b(?:not|no|never|neither|nor|unknown)\b|n't\b", re.IGNORECASE)


def why_not(answer: str, metadata: Metadata) -> str | None:
    """None where the answer's only date is the expected one, at least as precisely."""
    answer = "\u2013".join(map(typed, answer.split("\u2013")))  # which keeps 2009–10 a range: 2009-10 is October
    if negation := _NEGATION.search(answer):
        return f"a negation: '{negation.group()}'"
    dates = _dates(answer, metadata.get("answer_date_order"))
    wanted = expected.text(metadata).strip()
    if not dates:
        return "no date"
    if len(dates) > 1:
        return "more than one date, or a bound"
    (given,) = dates
    if given == "?":
        return "a date that is in no calendar, or has two readings: say answer_date_order"
    if given[: len(wanted)] == wanted:
        return None
    return "less precise than the expected date" if wanted.startswith(given) else f"another date: {given}"


def faults(metadata: Metadata) -> list[str]:
    """The faults of an expected answer that is not a date, and of an unknown order."""
    wanted = expected.text(metadata).strip()
    problems = []
    parts = [int(part) for part in wanted.split("-")] if _ISO.fullmatch(wanted) else []
    if not parts or _iso(*parts) is None:
        problems.append(f"/metadata/expected_answer: '{wanted}' is not a date such as 2026-01-25 or 2026-01")
    if metadata.get("answer_date_order", "dmy") not in ("dmy", "mdy"):
        problems.append("/metadata/answer_date_order: must be dmy or mdy")
    return problems


def _dates(text: str, order: str | None) -> set[str]:
    """The dates in a text, in ISO form; `?` for an impossible or ambiguous one, and for the end of a range."""
    dates = set()
    for form in _FORMS:
        for match in form.finditer(text):
            dates.add(_read(match.groupdict(), order))
        text = form.sub("\0", text)
    return dates | {"?"} if _SEVERAL.search(text) else dates


def _read(parts: dict[str, str], order: str | None) -> str:
    """The date in ISO form of the named groups of one of _FORMS; `?` for an impossible or ambiguous one."""
    year = int(parts["year"])
    if "first" in parts:
        first, second = int(parts["first"]), int(parts["second"])
        readings = {"dmy": _iso(year, second, first), "mdy": _iso(year, first, second)}
        possible = {readings[order]} if order else set(readings.values()) - {None}
        return (possible.pop() if len(possible) == 1 else None) or "?"
    month = parts.get("month")
    numbers = [year]
    if month:
        numbers.append(int(month) if month.isdigit() else _month(month))
    if parts.get("day"):
        numbers.append(int(parts["day"]))
    return _iso(*numbers) or "?"


def _month(name: str) -> int:
    return next(number for number, month in enumerate(_NAMES, start=1) if month.startswith(name[:3].casefold()))


def _iso(year: int, month: int | None = None, day: int | None = None) -> str | None:
    """The date as text; None for one that is not in the calendar."""
    try:
        return date(year, month or 1, day or 1).isoformat()[: 4 if month is None else 7 if day is None else 10]
    except ValueError:
        return None
