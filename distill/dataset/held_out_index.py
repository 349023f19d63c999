"""Which held-out prompt a row's prompt repeats: an index of the word sequences in them. distill/dataset/checks/contaminated.py
says by which rule."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from distill.dataset.held_out import HeldOutPrompt
from distill.dataset.prompt_words import PromptWords, answers_differ, expected, numbers, role_text, word_codes, words
from distill.records.types import Message, Metadata

GRAM = 8
"""Words of a sequence that two prompts share; a shorter prompt is one sequence."""
COVERED = 0.5
"""Share of a held-out prompt's own words that lie in sequences of one row (the rule of Tülu 3, arXiv 2411.15124)."""
WORDING = 2
"""A sequence in more held-out prompts than this is their common wording, and says nothing about one of them."""
TRAINED_WORDING, TRAINED_SHARE = 4, 0.1
"""So is one in more different training prompts than this, and in more than this share of them: where few prompts are held out, an
instruction that all prompts begin with would count as the question."""
RAREST = 2
"""How many times as common as the rarest of a prompt's sequences those may be that count as rare, too."""
SHORT = 4
"""A held-out prompt of fewer words matches only a prompt that is equal to it: 'Hello' is in many."""

Place = tuple[int, int]
"""(number of a held-out prompt, index of the first word of a sequence in it)"""


class Overlap(NamedTuple):
    """A held-out prompt that a row repeats."""

    where: str
    share: float


class HeldOutIndex:
    """All held-out prompts, with an index of the word sequences in them; `trained`: what the user says in training prompts,
    of many only some (`Sample`)."""

    def __init__(self, prompts: Iterable[HeldOutPrompt] = (), trained: Sequence[str] = ()) -> None:
        self.prompts = _distinct(prompts)
        self._short = {
            (held_out.system, tuple(held_out.prompt.words)): held_out
            for held_out in self.prompts
            if len(held_out.prompt.words) < SHORT
        }
        self._sizes = {size for held_out in self.prompts if (size := _size(held_out)) >= SHORT}
        index = _index(self.prompts)
        own, wording = _split(index, self.prompts, _trained_wording(index, self._sizes, trained))
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
        codes = word_codes(row_words)
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
            for place, gram in enumerate(_grams(word_codes(held_out.prompt.words), size)):
                index[gram].append((number, place))
    return index


def _trained_wording(index: Mapping[int, Any], sizes: Iterable[int], trained: Sequence[str]) -> dict[int, int]:
    """The sequences of the index that are common wording of the training prompts, and how many of those have each."""
    sharing: Counter[int] = Counter()
    different = set(trained)
    for codes in (word_codes(words(text)) for text in different) if index else ():
        sharing.update({gram for size in sizes for gram in _grams(codes, size) if gram in index})
    most = max(TRAINED_WORDING, TRAINED_SHARE * len(different))
    return {gram: count for gram, count in sharing.items() if count > most}


def _split(
    index: Mapping[int, list[Place]], prompts: Sequence[HeldOutPrompt], trained_wording: Mapping[int, int]
) -> tuple[dict[int, list[Place]], dict[int, list[Place]]]:
    """The sequences that tell prompts apart, and those that are common wording. Where the training prompts have all such
    sequences of a prompt, it keeps the rarest: many are near copies of it, or have what fills the places of one template."""
    telling: dict[int, list[Place]] = {}
    wording: dict[int, list[Place]] = {}
    for gram, places in index.items():
        sharing = {tuple(prompts[number].prompt.words) for number, _ in places}
        (wording if len(sharing) > WORDING else telling)[gram] = places
    own = {gram: places for gram, places in telling.items() if gram not in trained_wording}
    with_own = {number for places in own.values() for number, _ in places}
    rarest = dict.fromkeys(with_own, 0)
    common = {gram: trained_wording[gram] for gram in telling.keys() - own.keys()}
    for gram, count in common.items():
        rarest |= {number: min(count, rarest.get(number, count)) for number, _ in telling[gram]}
    for gram, count in common.items():
        kept = all(count <= RAREST * rarest[number] for number, _ in telling[gram])
        (own if kept else wording)[gram] = telling[gram]
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


def _grams(codes: Sequence[int], size: int) -> Iterator[int]:
    """Hashes of all sequences of `size` words."""
    return map(hash, zip(*(codes[place:] for place in range(size)), strict=False))
