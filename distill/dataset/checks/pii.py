"""No text of the row holds personal data: e-mail addresses, telephone numbers, payment cards, IBANs, US social security
numbers.

Off by default: many prompts are about such data. What is found is never shown. Addresses of example domains (RFC 2606)
do not count, nor do names of images (`logo@2x.png`) and git's own (`git@host`); cards and IBANs only with the right check
digits, and cards with the first digit of one: one number in ten that is as long, such as a time in microseconds, has them.
"""

import re2

from distill.dataset.checks.context import CheckContext
from distill.dataset.checks.fault import Fault, listed
from distill.dataset.checks.texts import texts
from distill.project.credentials import BEGIN
from distill.records.types import Row

ADVICE = "personal data is in the prompts or in what the tools return: make it up instead"
PATTERN = re2.compile(
    r"(?P<email>[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,})"
    rf"|{BEGIN}(?:"
    r"(?P<iban>[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b)"
    r"|(?P<card>[2-6]\d{3}[ -]?\d{4}[ -]?\d{4}[ -]?\d{1,7}\b|3[47]\d{2}[ -]\d{6}[ -]\d{5}\b)"
    r"|(?P<ssn>\d{3}-\d{2}-\d{4}\b))"
    r"|(?P<telephone>\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{2,4}(?:[ .-]?\d{2,4}){1,4}\b|\(\d{3}\) ?\d{3}-\d{4}\b)"
)
PREFILTER = PATTERN
EXAMPLE_DOMAINS = ("example.com", "example.org", "example.net", "example", "test", "invalid", "localhost")
IMAGES = ("png", "jpg", "jpeg", "gif", "svg", "webp", "avif")
SHORTEST = 8
"""Digits of a telephone number with its country."""
NAMES = {"email": "an e-mail address", "iban": "an IBAN", "card": "the number of a payment card",
         "ssn": "a social security number", "telephone": "a telephone number"}  # fmt: skip


def check(row: Row, context: CheckContext) -> Fault | None:
    faults = [(pointer, f"holds {NAMES[kind]}") for pointer, text in texts(row) for kind in sorted(_kinds(text))]
    return listed(faults) if faults else None


def _kinds(text: str) -> set[str]:
    return {
        match.lastgroup
        for match in PATTERN.finditer(text)
        if _is_real(match.lastgroup, match[match.lastgroup], text[max(0, match.start() - 2) : match.start()])
    }


def _is_real(kind: str, text: str, before: str) -> bool:
    """Whether a match is personal data: neither an example nor a number that only looks alike. `before`: the two characters
    before it."""
    if kind == "email":
        name, _, domain = text.casefold().rpartition("@")
        is_none = any(domain == end or domain.endswith(f".{end}") for end in EXAMPLE_DOMAINS + IMAGES)
        return name != "git" and not is_none
    if kind == "card":
        is_fraction = before[:1].isdigit() and before[1:] == "."
        return not is_fraction and _luhn("".join(letter for letter in text if letter.isdigit()))
    if kind == "iban":
        return _mod97(text.replace(" ", ""))
    if kind == "telephone":  # and no pair of coordinates
        return sum(map(str.isdigit, text)) >= SHORTEST and not ("." in text and " " in text)
    return not text.startswith(("000", "666", "9"))  # a social security number


def _luhn(digits: str) -> bool:
    """The check digit of payment cards (ISO/IEC 7812)."""
    doubled = [int(digit) * (2 if place % 2 else 1) for place, digit in enumerate(reversed(digits))]
    return len(set(digits)) > 1 and sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def _mod97(iban: str) -> bool:
    """The check digits of an IBAN (ISO 13616)."""
    return int("".join(str(int(letter, 36)) for letter in iban[4:] + iban[:4])) % 97 == 1
