"""The words of a prompt, in a form in which prompts can be compared.

Only what the user says counts: system messages are shared by many prompts. Two prompts that differ in a number or a
code, or that expect different answers, ask different things however alike their wording is: prompts that are written by
program are like that.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple
from zlib import crc32

from distill.answers import number
from distill.answers.exact import fold
from distill.records.types import Message, Metadata

# Scripts that put no spaces between words are compared character by character.
_SPACELESS = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_SPACELESS}]|[^\W_{_SPACELESS}]+")
_ASCII_WORDS = bytes(code if chr(code).isalnum() and code < 128 else ord(" ") for code in range(256))
_GROUPED = re.compile(r",(?<=\d,)(?=\d{3}\b)")
"""The comma in 1,000."""


class PromptWords(NamedTuple):
    """A prompt, to be compared."""

    words: Sequence[str]
    """Without case and punctuation."""
    expected: str | None
    """The expected answer, if there is one."""


def of_messages(messages: Sequence[Message], metadata: Metadata) -> PromptWords:
    """The words of the user in a conversation, with the expected answer."""
    return PromptWords(words(role_text(messages)), expected(metadata))


def words(text: str) -> list[str]:
    """The words of a text, without case, punctuation, and commas that group digits."""
    folded = _GROUPED.sub("", text.casefold())
    if folded.isascii():  # the same, and twice as fast
        return folded.encode().translate(_ASCII_WORDS).decode().split()
    return _WORD.findall(folded)


def word_codes(words: Sequence[str]) -> list[int]:
    """Hashes of words; the same in every process."""
    return [crc32(word.encode("utf-8", "surrogatepass")) for word in words]


def role_text(messages: Sequence[Message], role: str = "user") -> str:
    """The contents of all messages of one role, as lines of one text."""
    return "\n".join([message.get("content") or "" for message in messages if message["role"] == role])


def numbers(words: Sequence[str]) -> frozenset[str]:
    """The words with a digit in them: numbers, codes, dates."""
    return frozenset(word for word in words if not word.isalpha() and any(map(str.isdigit, word)))


def answers_differ(first: PromptWords, second: PromptWords) -> bool:
    """Whether both expect an answer, and not the same."""
    return first.expected is not None and second.expected is not None and first.expected != second.expected


def expected(metadata: Metadata) -> str | None:
    """The expected answer, if there is one, in a form in which the same answers are equal."""
    answer = metadata.get("expected_answer")
    if answer is None:
        return None
    if isinstance(answer, int | float):
        return f"{answer:.9g}"
    value = number.number(answer) if isinstance(answer, str) and number.is_plain(answer) else None
    return fold(str(answer)) if value is None else f"{float(value):.9g}"
