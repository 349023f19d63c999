"""Prompts that nobody may train on, so that an exam on them means something: the eval split, and files of benchmarks."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from zlib import crc32

from distill.dataset.prompt_words import PromptWords, answers_differ, expected, numbers, question, said, words
from distill.records import jsonl
from distill.records.faults import InputError

GRAM = 8
"""Words of a sequence that two prompts share; a shorter prompt is one sequence."""
COVERED = 0.5
"""Share of an exam prompt's own words that lie in sequences of one row (the rule of Tülu 3, arXiv 2411.15124)."""
WORDING = 2
"""A sequence in more prompts of the exam than this is their common wording, and says nothing about one of them."""
SHORT = 4
"""A prompt of fewer words is found only where it is the whole prompt: 'Hello' is in many."""
TEXTS = ("messages", "prompt", "question", "problem", "instruction", "text")
"""Where a row of a benchmark has its prompt: the first of these that it has."""


class HeldOutPrompt(NamedTuple):
    """One prompt that is held out."""

    where: str
    """file:line."""
    asked: PromptWords
    system: str


class Overlap(NamedTuple):
    """A held-out prompt that a row repeats."""

    where: str
    share: float


class HeldOutIndex:
    """All of them, to be looked up."""

    def __init__(self, exams: Iterable[HeldOutPrompt] = ()) -> None:
        once = {(exam.system, tuple(exam.asked.words), exam.asked.expected): exam for exam in exams if exam.asked.words}
        self.exams = list(once.values())
        self._whole = {
            (exam.system, tuple(exam.asked.words)): exam for exam in self.exams if len(exam.asked.words) < SHORT
        }
        found: dict[int, list[tuple[int, int]]] = defaultdict(list)
        self._lengths: set[int] = set()
        for number, exam in enumerate(self.exams):
            if (size := min(GRAM, len(exam.asked.words))) >= SHORT:
                self._lengths.add(size)
                for place, gram in enumerate(_grams(_codes(exam.asked.words), size)):
                    found[gram].append((number, place))
        self._found = {}
        own: dict[int, set[int]] = defaultdict(set)
        wording: dict[int, set[int]] = defaultdict(set)
        for gram, places in found.items():
            if len({tuple(self.exams[number].asked.words) for number, _ in places}) > WORDING:
                _cover(wording, places, self.exams)
            else:
                self._found[gram] = places
                _cover(own, places, self.exams)
        self._own = {number: places - wording[number] or places for number, places in own.items()}
        self._signs = self._rare_words()

    def overlap(self, messages: Sequence[dict[str, Any]], metadata: dict[str, Any]) -> Overlap | None:
        """The held-out prompt that the prompt of a conversation repeats most of; None where it repeats none."""
        asked = words(said(messages))
        if len(asked) < SHORT:
            exam = self._whole.get((said(messages, "system"), tuple(asked)))
            return Overlap(exam.where, 1.0) if exam else None
        if self._signs.isdisjoint(asked):
            return None
        covered: dict[int, set[int]] = defaultdict(set)
        codes = _codes(asked)
        for size in self._lengths:
            for gram in _grams(codes, size):
                if gram in self._found:
                    _cover(covered, self._found[gram], self.exams)
        if not covered:
            return None
        given, mine = numbers(asked), PromptWords(asked, expected(metadata))
        overlaps = [
            Overlap(exam.where, len(places & self._own[number]) / len(self._own[number]))
            for number, places in covered.items()
            if (exam := self.exams[number]).asked.words == asked
            or (numbers(exam.asked.words) <= given and not answers_differ(exam.asked, mine))
        ]
        most = max(overlaps, key=lambda found: (found.share, found.where), default=None)
        return most if most and most.share >= COVERED else None

    def _rare_words(self) -> frozenset[str]:
        """One word of each sequence, the rarest. A prompt that holds none of these words shares no sequence, which settles
        most prompts cheaply."""
        common = Counter(word for exam in self.exams for word in set(exam.asked.words))
        return frozenset(
            min(self.exams[number].asked.words[place : place + GRAM], key=lambda word: (common[word], -len(word), word))
            for ((number, place), *_) in self._found.values()
        )


def _codes(words: Sequence[str]) -> list[int]:
    """Hashes of words; the same in every process."""
    return [crc32(word.encode("utf-8", "surrogatepass")) for word in words]


def _grams(codes: Sequence[int], size: int) -> Iterator[int]:
    """Hashes of all sequences of `size` words."""
    return map(hash, zip(*(codes[place:] for place in range(size)), strict=False))


def _cover(covered: dict[int, set[int]], places: Sequence[tuple[int, int]], exams: Sequence[HeldOutPrompt]) -> None:
    for number, place in places:
        covered[number].update(range(place, min(place + GRAM, len(exams[number].asked.words))))


def of_prompt(prompt: Mapping[str, Any]) -> HeldOutPrompt:
    """A prompt of the eval split of data/prompts.jsonl."""
    messages = prompt["messages"]
    return HeldOutPrompt(prompt["source"], question(messages, prompt["metadata"]), said(messages, "system"))


def of_files(paths: Sequence[str]) -> list[HeldOutPrompt]:
    """Those of JSON Lines files of benchmarks. Raises InputError with the faults of all files."""
    exams: list[HeldOutPrompt] = []
    faults: list[str] = []
    for path in paths:
        number = 0
        try:
            for number, row in jsonl.read_numbered(path, "benchmark"):
                where = f"{path}:{number}"
                if text := next((row[key] for key in TEXTS if row.get(key)), None):
                    exams.append(_exam(where, text, row.get("metadata")))
                else:
                    faults.append(f"{where}: holds no prompt; it is looked for in {', '.join(TEXTS)}")
        except InputError as error:
            faults += [f"{fault} (filter.decontaminate_against in params.yaml)" for fault in error.faults]
        else:
            if not number:
                faults.append(f"{path}: holds no row (filter.decontaminate_against in params.yaml)")
    if faults:
        raise InputError(faults)
    return exams


def _exam(where: str, text: Any, metadata: Any) -> HeldOutPrompt:
    if isinstance(text, str):
        return HeldOutPrompt(where, PromptWords(words(text), None), "")
    return HeldOutPrompt(where, question(text, metadata if isinstance(metadata, dict) else {}), said(text, "system"))
