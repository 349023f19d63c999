"""Prompts that nobody may train on, so that an exam on them means something: the eval split, and files of benchmarks."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from zlib import crc32

from distill.dataset.prompt_words import PromptWords, answers_differ, expected, numbers, of_messages, role_text, words
from distill.records import jsonl
from distill.records.faults import InputError
from distill.records.types import Message, Metadata

GRAM = 8
"""Words of a sequence that two prompts share; a shorter prompt is one sequence."""
COVERED = 0.5
"""Share of a held-out prompt's own words that lie in sequences of one row (the rule of Tülu 3, arXiv 2411.15124)."""
WORDING = 2
"""A sequence in more held-out prompts than this is their common wording, and says nothing about one of them."""
SHORT = 4
"""A held-out prompt of fewer words matches only a prompt that is equal to it: 'Hello' is in many."""
TEXTS = ("messages", "prompt", "question", "problem", "instruction", "text")
"""Where a row of a benchmark has its prompt: the first of these that it has."""

Place = tuple[int, int]
"""(number of a held-out prompt, index of the first word of a sequence in it)"""


class HeldOutPrompt(NamedTuple):
    """One prompt that is held out."""

    where: str
    """file:line."""
    prompt: PromptWords
    system: str


class Overlap(NamedTuple):
    """A held-out prompt that a row repeats."""

    where: str
    share: float


class HeldOutIndex:
    """All held-out prompts, with an index of the word sequences in them."""

    def __init__(self, prompts: Iterable[HeldOutPrompt] = ()) -> None:
        self.prompts = _distinct(prompts)
        self._short = {
            (held_out.system, tuple(held_out.prompt.words)): held_out
            for held_out in self.prompts
            if len(held_out.prompt.words) < SHORT
        }
        self._sizes = {size for held_out in self.prompts if (size := _size(held_out)) >= SHORT}
        own, wording = _split(_index(self.prompts), self.prompts)
        self._places = own
        own_words, wording_words = _covered(own.values(), self.prompts), _covered(wording.values(), self.prompts)
        self._own_words = {
            number: found - wording_words.get(number, set()) or found for number, found in own_words.items()
        }
        rarity = _rarity(self.prompts)
        self._wholes: dict[str, list[tuple[int, str]]] = defaultdict(list)
        """The rarest word -> (number, text) of the prompts without a sequence of their own. Such a prompt lies wholly in
        others, as the first turn of a conversation does in the later ones; it has to lie wholly in a row, too."""
        for number, held_out in enumerate(self.prompts):
            if number not in own_words and _size(held_out) >= SHORT:
                self._wholes[min(held_out.prompt.words, key=rarity)].append((number, _spaced(held_out.prompt.words)))
        self._rare_words = _rare_words(own, self.prompts, rarity) | self._wholes.keys()

    def overlap(self, messages: Sequence[Message], metadata: Metadata) -> Overlap | None:
        """The held-out prompt that the prompt of a conversation repeats most of; None where it repeats none."""
        row_words = words(role_text(messages))
        if len(row_words) < SHORT:
            equal = self._short.get((role_text(messages, "system"), tuple(row_words)))
            return Overlap(equal.where, 1.0) if equal else None
        if self._rare_words.isdisjoint(row_words):
            return None
        codes = _codes(row_words)
        shared = (self._places[gram] for size in self._sizes for gram in _grams(codes, size) if gram in self._places)
        shares = {
            number: len(places & self._own_words[number]) / len(self._own_words[number])
            for number, places in _covered(shared, self.prompts).items()
        } | self._inside(row_words)
        if not shares:
            return None
        row_numbers, row_prompt = numbers(row_words), PromptWords(row_words, expected(metadata))
        overlaps = [
            Overlap(held_out.where, share)
            for number, share in shares.items()
            if (held_out := self.prompts[number]).prompt.words == row_words
            or (numbers(held_out.prompt.words) <= row_numbers and not answers_differ(held_out.prompt, row_prompt))
        ]
        most = max(overlaps, key=lambda overlap: (overlap.share, overlap.where), default=None)
        return most if most and most.share >= COVERED else None

    def _inside(self, row_words: Sequence[str]) -> dict[int, float]:
        """The numbers of the prompts without a sequence of their own that lie wholly in a row, each with the share 1."""
        found = [whole for word in self._wholes.keys() & set(row_words) for whole in self._wholes[word]]
        row_text = _spaced(row_words) if found else ""
        return {number: 1.0 for number, text in found if text in row_text}


def _distinct(prompts: Iterable[HeldOutPrompt]) -> list[HeldOutPrompt]:
    """The prompts that have words, each once."""
    by_content = {
        (held_out.system, tuple(held_out.prompt.words), held_out.prompt.expected): held_out
        for held_out in prompts
        if held_out.prompt.words
    }
    return list(by_content.values())


def _size(held_out: HeldOutPrompt) -> int:
    """Words of the sequences that a held-out prompt is cut into."""
    return min(GRAM, len(held_out.prompt.words))


def _index(prompts: Sequence[HeldOutPrompt]) -> dict[int, list[Place]]:
    """Hash of each word sequence -> where it lies in the prompts that are not short."""
    index: dict[int, list[Place]] = defaultdict(list)
    for number, held_out in enumerate(prompts):
        if (size := _size(held_out)) >= SHORT:
            for place, gram in enumerate(_grams(_codes(held_out.prompt.words), size)):
                index[gram].append((number, place))
    return index


def _split(
    index: Mapping[int, list[Place]], prompts: Sequence[HeldOutPrompt]
) -> tuple[dict[int, list[Place]], dict[int, list[Place]]]:
    """The sequences that tell prompts apart, and those that are common wording."""
    own: dict[int, list[Place]] = {}
    wording: dict[int, list[Place]] = {}
    for gram, places in index.items():
        sharing = {tuple(prompts[number].prompt.words) for number, _ in places}
        (wording if len(sharing) > WORDING else own)[gram] = places
    return own, wording


def _covered(sequences: Iterable[Sequence[Place]], prompts: Sequence[HeldOutPrompt]) -> dict[int, set[int]]:
    """Number of a prompt -> the indexes of its words that lie in the sequences."""
    covered: dict[int, set[int]] = defaultdict(set)
    for places in sequences:
        for number, place in places:
            covered[number].update(range(place, min(place + GRAM, len(prompts[number].prompt.words))))
    return covered


def _rarity(prompts: Sequence[HeldOutPrompt]) -> Callable[[str], tuple[int, int, str]]:
    """A sort key of words, smallest for the rarest in the prompts."""
    common = Counter(word for held_out in prompts for word in set(held_out.prompt.words))
    return lambda word: (common[word], -len(word), word)


def _rare_words(
    index: Mapping[int, list[Place]], prompts: Sequence[HeldOutPrompt], rarity: Callable[[str], tuple[int, int, str]]
) -> frozenset[str]:
    """One word of each sequence, the rarest. A prompt that holds none of these words shares no sequence, which settles
    most prompts cheaply."""
    return frozenset(
        min(prompts[number].prompt.words[place : place + GRAM], key=rarity) for ((number, place), *_) in index.values()
    )


def _spaced(words: Sequence[str]) -> str:
    """The words, each between two spaces, so that a text lies in another only where its words do."""
    return f" {' '.join(words)} "


def _codes(words: Sequence[str]) -> list[int]:
    """Hashes of words; the same in every process."""
    return [crc32(word.encode("utf-8", "surrogatepass")) for word in words]


def _grams(codes: Sequence[int], size: int) -> Iterator[int]:
    """Hashes of all sequences of `size` words."""
    return map(hash, zip(*(codes[place:] for place in range(size)), strict=False))


def of_prompt(prompt: Mapping[str, Any]) -> HeldOutPrompt:
    """The held-out prompt of a row of data/prompts.jsonl in the eval split."""
    messages = prompt["messages"]
    return HeldOutPrompt(prompt["source"], of_messages(messages, prompt["metadata"]), role_text(messages, "system"))


def of_files(paths: Sequence[str]) -> list[HeldOutPrompt]:
    """The held-out prompts of JSON Lines files of benchmarks. Raises InputError with the faults of all files."""
    prompts: list[HeldOutPrompt] = []
    faults: list[str] = []
    for path in paths:
        number = 0
        try:
            for number, row in jsonl.read_numbered(path, "benchmark"):
                where = f"{path}:{number}"
                if text := next((row[key] for key in TEXTS if row.get(key)), None):
                    prompts.append(_of_text(where, text, row.get("metadata")))
                else:
                    faults.append(f"{where}: holds no prompt; it is looked for in {', '.join(TEXTS)}")
        except InputError as error:
            faults += [f"{fault} (filter.decontaminate_against in params.yaml)" for fault in error.faults]
        else:
            if not number:
                faults.append(f"{path}: holds no row (filter.decontaminate_against in params.yaml)")
    if faults:
        raise InputError(faults)
    return prompts


def _of_text(where: str, text: Any, metadata: Any) -> HeldOutPrompt:
    """The held-out prompt of a text, or of a list of messages."""
    if isinstance(text, str):
        return HeldOutPrompt(where, PromptWords(words(text), None), "")
    of = of_messages(text, metadata if isinstance(metadata, dict) else {})
    return HeldOutPrompt(where, of, role_text(text, "system"))
