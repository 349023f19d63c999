"""No other prompt that stays asks nearly the same: of two prompts that share 70 % of their sequences of five words, the
better one stays with all its rollouts.

Compared is what the user says, under the same system message and with the same tools. Prompts that differ in a number
or a code, or that expect different answers, are different questions; the several rollouts of one prompt are not compared
with each other. Which prompt stays is a rule about the rows, never their order: the one with the best row (see
`facts.rank`), then the smallest prompt_id.

Off by default: prompts made from a template are near-duplicates of each other and may all be wanted. Where neither a
number nor an expected answer tells them apart, one of each template would be left.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from distill.dataset import facts, minhash
from distill.dataset.checks.fault import Fault
from distill.dataset.facts import Facts
from distill.dataset.prompt_words import PromptWords, answers_differ, numbers, of_messages, role_text
from distill.records.ids import canonical
from distill.records.types import Row

ADVICE = "all prompts are nearly the same: write others, or keep them all with filter.near_duplicate: off"
ALIKE = 0.7
"""Jaccard similarity of two prompts from which they are near-duplicates."""
CHUNK = 2_000
"""Prompts that are hashed at once."""

Text = tuple[PromptWords, np.ndarray[Any, Any]]
"""The words of a prompt, and the hashes of its word sequences, sorted, each once."""


class Prompt(NamedTuple):
    """A prompt to be compared."""

    number: int
    """Its place among all prompts, the best first."""
    words: PromptWords
    salt: int
    """Equal for prompts that can be duplicates of each other; equal words have equal hashes only under equal salts."""


def losers(
    standing: Mapping[int, Facts], rows: Callable[[], Iterable[Row]], filters: Mapping[str, Any]
) -> dict[int, Fault]:
    """The rows (by place) whose prompt is a near-duplicate of a better one's. Reads all rows twice."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, row_facts in standing.items():
        places[row_facts.prompt_id].append(place)
    best = {
        prompt: min(rows_of_prompt, key=lambda place: facts.rank(standing[place]))
        for prompt, rows_of_prompt in places.items()
    }
    ranked = sorted(best, key=lambda prompt: (*facts.rank(standing[best[prompt]])[:-1], prompt))
    numbers_by_place = {best[prompt]: number for number, prompt in enumerate(ranked)}

    keys = _keys(rows(), numbers_by_place)
    suspects = np.zeros(len(ranked), bool)
    for pairs in minhash.candidates(keys):
        suspects[pairs] = True
    if not suspects.any():
        return {}
    suspect_places = {place: number for place, number in numbers_by_place.items() if suspects[number]}
    return {
        place: Fault(f"asks nearly the same as prompt {ranked[kept]} ({share:.0%} of the word sequences of both)")
        for number, (kept, share) in _beaten(keys, _texts(rows(), suspect_places)).items()
        for place in places[ranked[number]]
    }


def _keys(rows: Iterable[Row], numbers_by_place: Mapping[int, int]) -> Any:
    """The MinHash keys of all prompts, by their numbers.

    A prompt without words keeps random keys: equal ones, such as zeros, would make all of them duplicates of each other.
    """
    keys = np.random.default_rng(0).integers(2**63, size=(len(numbers_by_place), minhash.BANDS), dtype=np.uint64)
    for chunk in _chunks(_prompts(rows, numbers_by_place)):
        keys[[prompt.number for prompt in chunk]] = minhash.bands(*_shingles(chunk))
    return keys


def _texts(rows: Iterable[Row], numbers_by_place: Mapping[int, int]) -> dict[int, Text]:
    """Number of a prompt -> its words and the hashes of its word sequences."""
    texts: dict[int, Text] = {}
    for chunk in _chunks(_prompts(rows, numbers_by_place)):
        hashes, offsets = _shingles(chunk)
        for prompt, start, end in zip(chunk, offsets, offsets[1:], strict=False):
            texts[prompt.number] = (prompt.words, np.unique(hashes[start:end]))
    return texts


def _prompts(rows: Iterable[Row], numbers_by_place: Mapping[int, int]) -> Iterator[Prompt]:
    """The prompts of the rows at these places, but for those without a word of the user's, which are nobody's duplicates."""
    for place, row in enumerate(rows):
        if place in numbers_by_place and (prompt := of_messages(row["messages"], row["metadata"])).words:
            must_be_equal = [
                role_text(row["messages"], "system").split(),
                sorted(tool["function"]["name"] for tool in row["tools"]),
                sorted(numbers(prompt.words)),
            ]
            salt = hashlib.blake2b(canonical(must_be_equal), digest_size=8).digest()
            yield Prompt(numbers_by_place[place], prompt, int.from_bytes(salt, "big"))


def _chunks(prompts: Iterable[Prompt]) -> Iterator[list[Prompt]]:
    prompts = iter(prompts)
    while chunk := list(islice(prompts, CHUNK)):
        yield chunk


def _shingles(chunk: list[Prompt]) -> tuple[Any, Any]:
    return minhash.shingles([prompt.words.words for prompt in chunk], [prompt.salt for prompt in chunk])


def _beaten(keys: Any, texts: Mapping[int, Text]) -> dict[int, tuple[int, float]]:
    """Number of each prompt that is rejected -> the better one that stays, and their similarity."""
    likeness: dict[tuple[int, int], float] = {}
    near: dict[int, list[int]] = defaultdict(list)
    for pairs in minhash.candidates(keys):
        for better, worse in pairs.tolist():
            if (better, worse) in likeness:
                continue
            (better_words, better_hashes), (worse_words, worse_hashes) = texts[better], texts[worse]
            differ = answers_differ(better_words, worse_words)
            share = 0.0 if differ else minhash.jaccard(better_hashes, worse_hashes)
            likeness[better, worse] = share
            if share >= ALIKE:
                near[worse].append(better)
    rejected: dict[int, tuple[int, float]] = {}
    for number in sorted(near):
        if kept := [better for better in near[number] if better not in rejected]:
            rejected[number] = (min(kept), likeness[min(kept), number])
    return rejected
