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
from typing import Any, NamedTuple

import numpy as np

from distill.dataset import facts, minhash
from distill.dataset.checks.fault import Fault
from distill.dataset.facts import Facts
from distill.dataset.prompt_words import PromptWords, answers_differ, numbers, question, said
from distill.records.ids import canonical

ADVICE = "all prompts are nearly the same: write others, or keep them all with filter.near_duplicate: off"
ALIKE = 0.7
CHUNK = 2_000
"""Prompts that are hashed at once."""

Row = dict[str, Any]


class Prompt(NamedTuple):
    """A prompt to be compared."""

    number: int
    """Its place among all prompts, the best first."""
    question: PromptWords
    salt: int
    """Equal for prompts that can be duplicates of each other."""


def losers(
    standing: Mapping[int, Facts], rows: Callable[[], Iterable[Row]], filters: Mapping[str, Any]
) -> dict[int, Fault]:
    """The rows (by place) whose prompt is a near-duplicate of a better one's. Reads all rows twice."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, known in standing.items():
        places[known.prompt_id].append(place)
    best = {prompt: min(found, key=lambda place: facts.rank(standing[place])) for prompt, found in places.items()}
    ranked = sorted(best, key=lambda prompt: (*facts.rank(standing[best[prompt]])[:-1], prompt))
    shown = {best[prompt]: number for number, prompt in enumerate(ranked)}

    keys = np.random.default_rng(0).integers(2**63, size=(len(ranked), minhash.BANDS), dtype=np.uint64)
    for chunk in _chunks(_prompts(rows(), shown)):
        keys[[prompt.number for prompt in chunk]] = minhash.bands(*_shingles(chunk))
    alike = np.zeros(len(ranked), bool)
    for pairs in minhash.candidates(keys):
        alike[pairs] = True
    if not alike.any():
        return {}
    texts: dict[int, tuple[PromptWords, np.ndarray[Any, Any]]] = {}
    wanted = {place: number for place, number in shown.items() if alike[number]}
    for chunk in _chunks(_prompts(rows(), wanted)):
        hashes, offsets = _shingles(chunk)
        for prompt, start, end in zip(chunk, offsets, offsets[1:], strict=False):
            texts[prompt.number] = (prompt.question, np.unique(hashes[start:end]))
    return {
        place: Fault(f"asks nearly the same as prompt {ranked[kept]} ({share:.0%} of the word sequences of both)")
        for number, (kept, share) in _beaten(keys, texts).items()
        for place in places[ranked[number]]
    }


def _prompts(rows: Iterable[Row], shown: Mapping[int, int]) -> Iterator[Prompt]:
    """The prompts of the rows at the places in `shown`; those without a word of the user's are nobody's duplicates."""
    for place, row in enumerate(rows):
        if place in shown and (asked := question(row["messages"], row["metadata"])).words:
            apart = [
                said(row["messages"], "system").split(),
                sorted(tool["function"]["name"] for tool in row["tools"]),
                sorted(numbers(asked.words)),
            ]
            salt = hashlib.blake2b(canonical(apart), digest_size=8).digest()
            yield Prompt(shown[place], asked, int.from_bytes(salt, "big"))


def _chunks(prompts: Iterable[Prompt]) -> Iterator[list[Prompt]]:
    chunk: list[Prompt] = []
    for prompt in prompts:
        chunk.append(prompt)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _shingles(chunk: list[Prompt]) -> tuple[Any, Any]:
    return minhash.shingles([prompt.question.words for prompt in chunk], [prompt.salt for prompt in chunk])


def _beaten(keys: Any, texts: Mapping[int, tuple[PromptWords, np.ndarray[Any, Any]]]) -> dict[int, tuple[int, float]]:
    """Prompts that go -> the better one that stays, and how alike they are."""
    likeness: dict[tuple[int, int], float] = {}
    near: dict[int, list[int]] = defaultdict(list)
    for pairs in minhash.candidates(keys):
        for better, worse in pairs.tolist():
            if (better, worse) in likeness:
                continue
            (one, hashes), (other, others) = texts[better], texts[worse]
            share = 0.0 if answers_differ(one, other) else minhash.jaccard(hashes, others)
            likeness[better, worse] = share
            if share >= ALIKE:
                near[worse].append(better)
    gone: dict[int, tuple[int, float]] = {}
    for number in sorted(near):
        if kept := [better for better in near[number] if better not in gone]:
            gone[number] = (min(kept), likeness[min(kept), number])
    return gone
