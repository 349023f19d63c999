"""The groups that their metadata sort prompts and rows into: by the type of answer, and by every key with few values."""

from collections.abc import Iterable, Iterator
from typing import Any

from distill.answers import types
from distill.records.faults import InputError
from distill.records.types import Metadata

MOST_VALUES = 8
"""Values of a key by which there are still groups."""
LONGEST = 200
"""Characters of a value that names a group, at most."""
MOST_KEYS = 200
"""Where there are more, they are no groups, and none is counted but the types of answers."""
ANSWER_TYPE = "answer_type"


class Groups:
    """How often each value of each key occurs. A key with more than `most` values forgets them, so that memory is bounded
    for any number of rows."""

    def __init__(self, most: int = MOST_VALUES) -> None:
        self._most = most
        self._too_many_keys = False
        self.counts: dict[str, dict[str, int] | None] = {}
        """Key -> value as text -> how often; None for a key with too many values, or one that is too long."""

    def add(self, pairs: Iterable[tuple[str, Any]]) -> None:
        """Counts the pairs of key and value."""
        for key, value in pairs:
            counts = self.counts.get(key, {})
            if counts is None:
                continue
            text = str(value)
            if text in counts:  # the usual case, and fast
                counts[text] += 1
            else:
                self._put(key, text, 1)

    def merge(self, others: "Groups") -> None:
        """Adds what another one counted."""
        if others._too_many_keys:
            self._forget_keys()
        for key, values in others.counts.items():
            if values is None and self._takes(key):
                self.counts[key] = None
            for value, count in (values or {}).items():
                self._put(key, value, count)

    def _put(self, key: str, value: str, count: int) -> None:
        counts = self.counts.setdefault(key, {}) if self._takes(key) else None
        if counts is None:
            return
        counts[value] = counts.get(value, 0) + count
        if len(counts) > (self._most if key != ANSWER_TYPE else MOST_KEYS) or len(value) > LONGEST:
            self.counts[key] = None

    def _takes(self, key: str) -> bool:
        """Whether the key is counted: the first one too many makes all but the types of answers be forgotten."""
        if key not in self.counts and len(self.counts) == MOST_KEYS:
            self._forget_keys()
        return key == ANSWER_TYPE or not self._too_many_keys

    def _forget_keys(self) -> None:
        self._too_many_keys = True
        self.counts = {key: counts for key, counts in self.counts.items() if key == ANSWER_TYPE}


def pairs(metadata: Metadata) -> Iterator[tuple[str, Any]]:
    """Key and value of all that may form a group: the type of answer, and the keys that say something of the task."""
    if kind := _answer_type(metadata):
        yield ANSWER_TYPE, kind
    for key, value in metadata.items():
        if value is not None and key != ANSWER_TYPE and is_of_the_task(key):
            yield key, value


def is_of_the_task(key: str) -> bool:
    """Whether a metadata key says something about the prompt; the others say what its answer is compared with, and how."""
    return key == ANSWER_TYPE or not key.startswith(("expected_answer", "answer_"))


def of(metadata: Metadata) -> dict[str, str]:
    """Key -> value as text, of all that may form a group."""
    return {key: str(value) for key, value in pairs(metadata)}


def _answer_type(metadata: Metadata) -> str:
    """The types by which the answer is compared; empty where none is known, and where others tell of a fault in them."""
    if metadata.get("expected_answer") is None:
        return ""
    try:
        return ", ".join(types(metadata))
    except InputError:
        return ""
