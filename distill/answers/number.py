"""`number`: exactly one number, equal as written or within 1e-6 of its size, or within `answer_tolerance`.

`answer_tolerance` is a distance (0.5) or a share of the expected number ("1%"). Thousands separators and, without
`answer_unit`, currency signs and units are ignored. With `answer_unit`, or a known unit in the expected answer, a
unit in the answer must be that one or convert to it. A number with an operation beside it is not that number: half of 5,
5 million, 5x; `minus` is computed.
"""

import functools
import math
import re
from decimal import MAX_EMAX, MIN_EMIN, Decimal, InvalidOperation, localcontext
from typing import Any

from distill.answers import expected, numeral, units
from distill.records.types import Metadata

OPTIONS = ("answer_tolerance", "answer_unit")
RELATIVE_TOLERANCE = 1e-6
NEAR_ZERO = 1e-12
"""Distance from zero up to which a number counts as zero."""
_BESIDE = re.compile(r" ?\w")


def find(text: str, metadata: Metadata) -> str | None:
    """The last number of a text with what belongs to it ("5 or 6", "half of 5"), and its unit where one is asked for."""
    for line in reversed(numeral.readable(text).splitlines()):
        indented = f"\n{line}"  # a dash at the beginning of a line is a bullet, not a minus
        if statements := list(numeral.STATEMENT.finditer(indented)):
            last = statements[-1]
            unit = numeral.CLAUSE.match(indented, last.end()) if _unit(metadata) else None
            return (last.group() + (unit.group() if unit else "")).strip()
    return None


def behind_box(text: str) -> str:
    """The unit or the magnitude at the beginning of the text behind `\\boxed{5}`, which belongs to the number in it."""
    line = numeral.readable(text.partition("\n")[0]).lstrip(" $")
    magnitude = numeral.MAGNITUDE.match(line)
    return magnitude.group() if magnitude else units.named(line) or ""


def why_not(answer: str, metadata: Metadata) -> str | None:
    """None where the answer's one number is the expected one, in the expected unit."""
    answer_unit, tolerance = metadata.get("answer_unit"), metadata.get("answer_tolerance")
    wanted, given = _single(expected.text(metadata), answer_unit), _single(answer, answer_unit)
    if isinstance(given, str):
        return given
    assert not isinstance(wanted, str), "`faults` refuses such an expected answer"
    unit = _unit(metadata)
    if not unit and numeral.BILLION.match(given.string, given.end()):
        return f"not a plain number: '{given.group().strip()} B'"
    factor = units.factor(_unit_of(given), unit) if unit else 1
    if factor is None:
        return f"in another unit than {unit}"
    with localcontext(Emax=MAX_EMAX, Emin=MIN_EMIN):  # a number of a million digits would overflow
        if _equal(_value(wanted), _value(given) * factor, tolerance):
            return None
    named = f", in {unit}" if unit else ""
    return f"another number{named}" if tolerance is None else f"further away than {tolerance}{named}"


def faults(metadata: Metadata) -> list[str]:
    """The faults of an expected answer that is not a single number, and of options that are not valid."""
    problems = expected.text_faults(metadata)
    shown, unit = expected.text(metadata), metadata.get("answer_unit")
    written = _single(shown, unit if isinstance(unit, str) else None)
    if not problems and isinstance(written, str):
        problems.append(f"/metadata/expected_answer: '{shown}' holds no single number; use answer_type: exact")
    if "answer_tolerance" in metadata and _tolerance(metadata["answer_tolerance"], Decimal(1)) is None:
        problems.append("/metadata/answer_tolerance: must be a number such as 0.5, or a share such as '1%'")
    if unit is not None and (not isinstance(unit, str) or not unit.strip()):
        problems.append("/metadata/answer_unit: must be the name of a unit, such as kg")
    if not (problems or unit is None or isinstance(written, str)) and units.factor(_unit_of(written), unit) is None:
        problems.append(f"/metadata/answer_unit: the expected answer is in another unit than '{unit}'")
    return problems


def number(text: str) -> Decimal | None:
    """The one number in a text, or the one after its only `=`; None for none, several, a negation, a bound, "5 million"."""
    match = _single(text)
    return None if isinstance(match, str) else _value(match)


def is_plain(text: str) -> bool:
    """Whether a text is a number and nothing else (but a currency or percent sign)."""
    return numeral.PLAIN.fullmatch(numeral.readable(text).strip()) is not None


def is_measure(text: str) -> bool:
    """Whether a text is a plain number, or one with a unit that converts, such as 44 kg."""
    match = numeral.NUMBER.match(numeral.readable(text).strip())
    rest = match.string[match.end() :].strip() if match else ""
    return is_plain(text) or bool(rest and " " not in rest and units.known(rest) == rest)


@functools.lru_cache(maxsize=8)  # a grade reads the expected answer several times
def _single(text: str, answer_unit: str | None = None) -> re.Match[str] | str:
    """The only number in a text, or the one after its only `=`, as a match of NUMBER; else why there is none."""
    text = numeral.readable(text)
    for pattern, cause in ((numeral.NEGATION, "a negation"), (numeral.HEDGE, "a bound, not a number")):
        if found := pattern.search(text):
            return f"{cause}: '{found.group().strip()}'"
    matches = list(numeral.NUMBER.finditer(text))
    results = list(numeral.NUMBER.finditer(text, text.index("=") + 1)) if text.count("=") == 1 else []
    for only in (matches, results):
        if len(only) == 1:
            computed = _computed(only[0], answer_unit)
            return f"not a plain number: '{computed}'" if computed else only[0]
    if matches:
        numbers = [match.group().strip() for match in matches]
        return f"{len(numbers)} numbers: {', '.join(numbers[:3])}{', …' if len(numbers) > 3 else ''}"
    comma = numeral.DECIMAL_COMMA.search(text)
    return f"a decimal comma: write {comma[1]}.{comma[2]}" if comma else "no number"


def _computed(match: re.Match[str], answer_unit: str | None) -> str | None:
    """A number with the operation beside it: its value is another."""
    text, end = match.string, match.end()
    if answer_unit and _BESIDE.match(text, end) and units.factor(text[end:], answer_unit) is not None:
        text = text[:end]
    group = text[text.rfind("=", 0, match.start()) + 1 :].partition("=")[0]
    operation = numeral.OPERATION.search(group)
    return operation.group().strip() if operation else None


def _value(match: re.Match[str]) -> Decimal:
    signs = [match["minus"] and "-", match["sign"], match["inner"]]
    value = Decimal(match["digits"].replace(",", ""))
    return value.copy_negate() if signs.count("-") % 2 else value


def _unit_of(match: re.Match[str]) -> str:
    """The text beside a number where its unit would stand: the code of a currency, the sign of one before it, else all that
    follows."""
    before, behind = (
        numeral.CODE_BEFORE.search(match.string, 0, match.start()),
        numeral.CODE_BEHIND.match(match.string, match.end()),
    )
    for code in (before, behind):
        if code and units.known(code[1]):
            return code[1]
    return match["currency"] or match.string[match.end() :]


def _unit(metadata: Metadata) -> str | None:
    """The unit that is asked for: `answer_unit`, else the one in the expected answer if it is a known one or, as in NT$44,
    has the sign of a currency."""
    if metadata.get("answer_unit"):
        return metadata["answer_unit"]
    written = _single(expected.text(metadata))
    return None if isinstance(written, str) else units.known(_unit_of(written)) or written["currency"]


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
