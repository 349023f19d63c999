"""`number`: exactly one number, equal as written or within 1e-6 of its size, or within `answer_tolerance`.

`answer_tolerance` is a distance (0.5) or a share of the expected number ("1%"). Thousands separators and, without
`answer_unit`, currency signs and units are ignored. With `answer_unit`, or a known unit in the expected answer, a
unit in the answer must be that one or convert to it.
"""

import math
import re
from decimal import Decimal, InvalidOperation
from typing import Any

from distill.answers import expected, units
from distill.records.types import Metadata

OPTIONS = ("answer_tolerance", "answer_unit")
RELATIVE_TOLERANCE = 1e-6
NEAR_ZERO = 1e-12
"""Distance from zero up to which a number counts as zero."""

_PLAIN_SIGNS = str.maketrans({"\u2212": "-", "\ufe63": "-", "\uff0d": "-", "\u2019": "'"})
_SPACE_IN_NUMBER = re.compile(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3})")  # a narrow or no-break space: 12 000
_TAG = re.compile(r"</?[a-z][\w-]*>", re.IGNORECASE)  # </b>
_POWER = re.compile(r"(?<=[a-z])\^([23])(?!\d)", re.IGNORECASE)  # ^2 in m^2
_CURRENCY_CODE = re.compile(r"\b([A-Z]{3}) ?\Z")  # EUR before a number
_CURRENCY = r"[$€£¥₹]"

_DIGITS = r"""
    (?<![\w.]) (?<!\d,)                # neither the end of a word nor that of another number
    (?: \d{1,3} (?:,\d{3})++ (?:\.\d++)?   # 1,234.5
      | \d++ (?:\.\d++)?                # 1234.5
      | \.\d++ )                        # .5
    (?: e[-+]?\d{1,3}+ )?               # 1e-3
    (?! [.,]?\d | e[-+]?\d )            # no rest of another number: 1.2.3, 12,34
"""
_NUMBER_PARTS = rf"""
    (?: (?<![\w)]) (?P<sign>[-+]) )?                   # -5, but not 3-5
    (?: (?P<currency>{_CURRENCY}) [ ]? (?P<inner>[-+])? )?   # $5, $-5
    (?P<digits>{_DIGITS})
"""
_ANY_NUMBER = re.sub(r"\?P<\w+>", "?:", _NUMBER_PARTS)  # the same without names, to occur twice in a pattern
_JOINER = r"(?: (?:[ ]?[a-z%]+)? [ ] (?:or|and|to) [ ] | [ ]? [-–—/^*×+] [ ]? | : )"  # 5 or 6, 5 kg to 6, 5-6, 1:2
_MAGNITUDES = r"(?: (?:k|bn|dozen|hundred|thousand|million|billion|trillion) \b )"  # 5 million
_BOUND = r"""
    (?: (?<![-=]) [<>\u2264\u2265] =?     # < 5, >= 5
      | \b (?: (?:less|more|fewer|greater|higher|lower|later|earlier)[ ]than   # more than 5
             | at[ ](?:least|most) | up[ ]to | under | over | above | below | either ) )
"""
_OPEN_END = r"(?: \+(?!\d) | [ ]or[ ][a-z]+ )"  # 5+, 5 or more


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE | re.VERBOSE)


_NUMBER = _compiled(_NUMBER_PARTS)
_STATEMENT = _compiled(
    rf"""
    (?: not[ ] | n't[ ] )? (?: be[ ] )?            # not 5, can't be 5
    (?: {_BOUND} [ ]? )?                           # at least 5
    {_ANY_NUMBER} (?: {_JOINER} {_ANY_NUMBER} )*   # 5 or 6
    (?: [ ]? {_MAGNITUDES} )? {_OPEN_END}?         # 5 million, 5+
    """
)
_HEDGE = _compiled(rf"{_BOUND} [ ]? {_ANY_NUMBER} | {_ANY_NUMBER} {_OPEN_END}")  # at least 5, 5 or more
_PLAIN = _compiled(rf"{_ANY_NUMBER} [ ]? (?:{_CURRENCY}|%)?")  # 5, $5, 5 €, 5%
_NEGATION = _compiled(r"\b (?:not|no|never|cannot|neither|nor|unknown) \b | n't\b")
_MAGNITUDE = _compiled(rf"\d [ ]? {_MAGNITUDES}")  # 5 million
_DECIMAL_COMMA = re.compile(r"(?<![\d.,])(\d+),(\d+)(?![\d.,])")  # 0,45
_CLAUSE = re.compile(r"[^.,;:!?\n]{0,40}")  # the words after a number that may be its unit


def find(text: str, metadata: Metadata) -> str | None:
    """The last number of a text, with what joins it to the one before ("5 or 6"), and its unit where one is asked for."""
    readable = _readable(text)
    last = None
    for last in _STATEMENT.finditer(readable):  # noqa: B007 - the last one is wanted
        pass
    if last is None:
        return None
    unit = _CLAUSE.match(readable, last.end()) if _unit(metadata) else None
    return (last.group() + (unit.group() if unit else "")).strip()


def why_not(answer: str, metadata: Metadata) -> str | None:
    """None where the answer's one number is the expected one, in the expected unit."""
    wanted, given = _single(expected.text(metadata)), _single(answer)
    if isinstance(given, str):
        return given
    assert not isinstance(wanted, str), "`faults` refuses such an expected answer"
    unit, tolerance = _unit(metadata), metadata.get("answer_tolerance")
    factor = units.factor(_unit_of(given), unit) if unit else 1
    if factor is None:
        return f"in another unit than {unit}"
    if _equal(_value(wanted), _value(given) * factor, tolerance):
        return None
    named = f", in {unit}" if unit else ""
    return f"another number{named}" if tolerance is None else f"further away than {tolerance}{named}"


def faults(metadata: Metadata) -> list[str]:
    """The faults of an expected answer that is not a single number, and of options that are not valid."""
    problems = expected.text_faults(metadata)
    if not problems and number(expected.text(metadata)) is None:
        shown = expected.text(metadata)
        problems.append(f"/metadata/expected_answer: '{shown}' holds no single number; use answer_type: exact")
    if "answer_tolerance" in metadata and _tolerance(metadata["answer_tolerance"], Decimal(1)) is None:
        problems.append("/metadata/answer_tolerance: must be a number such as 0.5, or a share such as '1%'")
    unit = metadata.get("answer_unit")
    if unit is not None and (not isinstance(unit, str) or not unit.strip()):
        problems.append("/metadata/answer_unit: must be the name of a unit, such as kg")
    if not problems and unit is not None:
        written = _single(expected.text(metadata))
        if not isinstance(written, str) and units.factor(_unit_of(written), unit) is None:
            problems.append(f"/metadata/answer_unit: the expected answer is in another unit than '{unit}'")
    return problems


def number(text: str) -> Decimal | None:
    """The one number in a text, or the one after its only `=`; None for none, several, a negation, a bound, "5 million"."""
    match = _single(text)
    return None if isinstance(match, str) else _value(match)


def is_plain(text: str) -> bool:
    """Whether a text is a number and nothing else (but a currency or percent sign)."""
    return _PLAIN.fullmatch(_readable(text).strip()) is not None


def is_measure(text: str) -> bool:
    """Whether a text is a plain number, or one with a unit that converts, such as 44 kg."""
    match = _NUMBER.match(_readable(text).strip())
    rest = match.string[match.end() :].strip() if match else ""
    return is_plain(text) or bool(rest and " " not in rest and units.known(rest) == rest)


def _single(text: str) -> re.Match[str] | str:
    """The only number in a text, or the one after its only `=`, as a match of _NUMBER; else why there is none."""
    text = _readable(text)
    for pattern, cause in (
        (_NEGATION, "a negation"),
        (_MAGNITUDE, "a number in words"),
        (_HEDGE, "a bound, not a number"),
    ):
        if found := pattern.search(text):
            return f"{cause}: '{found.group().strip()}'"
    matches = list(_NUMBER.finditer(text))
    results = list(_NUMBER.finditer(text, text.index("=") + 1)) if text.count("=") == 1 else []
    for only in (matches, results):
        if len(only) == 1:
            return only[0]
    if matches:
        numbers = [match.group().strip() for match in matches]
        return f"{len(numbers)} numbers: {', '.join(numbers[:3])}{', …' if len(numbers) > 3 else ''}"
    comma = _DECIMAL_COMMA.search(text)
    return f"a decimal comma: write {comma[1]}.{comma[2]}" if comma else "no number"


def _value(match: re.Match[str]) -> Decimal:
    sign = (match["sign"] or "") + (match["inner"] or "")
    value = Decimal(match["digits"].replace(",", ""))
    return value.copy_negate() if sign.count("-") == 1 else value


def _unit_of(match: re.Match[str]) -> str:
    """The text beside a number where its unit would stand: a currency before it, else all that follows."""
    code = _CURRENCY_CODE.search(match.string, 0, match.start())
    if code and units.known(code[1]):
        return code[1]
    return match["currency"] or match.string[match.end() :]


def _unit(metadata: Metadata) -> str | None:
    """The unit that is asked for: `answer_unit`, else the one in the expected answer if it is a known one."""
    if metadata.get("answer_unit"):
        return metadata["answer_unit"]
    written = _single(expected.text(metadata))
    return None if isinstance(written, str) else units.known(_unit_of(written))


def _readable(text: str) -> str:
    """The text without tags, and with signs, digit groups and powers in their plain forms."""
    text = _SPACE_IN_NUMBER.sub("", _TAG.sub(" ", text).translate(_PLAIN_SIGNS))
    return _POWER.sub(lambda power: "²³"[int(power[1]) - 2], text)


def _tolerance(given: Any, wanted: Decimal) -> Decimal | None:
    """The distance that is allowed around `wanted`; None for an option that is not a tolerance."""
    try:
        if isinstance(given, str) and given.strip().endswith("%"):
            distance = abs(wanted) * Decimal(given.strip()[:-1]) / 100
        else:
            distance = Decimal(str(given))
    except InvalidOperation:
        return None
    return distance if distance.is_finite() and distance >= 0 and not isinstance(given, bool) else None


def _equal(wanted: Decimal, given: Decimal, tolerance: Any) -> bool:
    if wanted == given:
        return True
    if tolerance is not None:
        return abs(wanted - given) <= (_tolerance(tolerance, wanted) or 0)
    if wanted == wanted.to_integral_value() and given == given.to_integral_value():
        return False  # two different whole numbers are different, however large they are
    return math.isclose(wanted, given, rel_tol=RELATIVE_TOLERANCE, abs_tol=NEAR_ZERO)
