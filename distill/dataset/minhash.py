"""MinHash over word sequences: finds which of many texts may be nearly the same, without comparing every pair.

25 bands of 5 hashes find 99 of 100 pairs whose Jaccard similarity is 0.7, and many that are less alike: every candidate
is to be checked exactly.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from distill.dataset.prompt_words import word_codes

Array = np.ndarray[Any, Any]
BANDS, ROWS = 25, 5
WORDS = 5
"""Words of a sequence; a shorter text is one sequence."""
LEADERS = 4
"""Texts of a bucket that the others in it are compared with: work stays linear where thousands share a bucket."""
_SEED = 20
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""Factor of the polynomial hash: 2**64 divided by the golden ratio, as in splitmix64."""


def shingles(texts: Sequence[Sequence[str]], salts: Sequence[int]) -> tuple[Array, Array]:
    """Hashes of all sequences of WORDS words, text after text, and the offsets at which each text begins (one more than
    texts). Equal sequences have equal hashes only under equal salts."""
    lengths = np.fromiter((max(len(text), WORDS) for text in texts), np.int64, len(texts))
    codes = np.fromiter(
        (code for text in texts for code in [*word_codes(text), *[0] * (WORDS - len(text))]), np.uint64, lengths.sum()
    )
    counts = lengths - (WORDS - 1)
    last = codes.size - (WORDS - 1)
    rolled = np.zeros(last, np.uint64)
    for place in range(WORDS):
        rolled = rolled * _FACTOR + codes[place : place + last]
    whole = np.arange(last) + WORDS <= np.repeat(np.cumsum(lengths), lengths)[:last]
    hashes = rolled[whole] ^ np.repeat(np.array(salts, np.uint64), counts)
    return _mixed(hashes), np.concatenate([[0], np.cumsum(counts)])


def bands(hashes: Array, offsets: Array) -> Array:
    """A matrix of keys, texts by bands: texts that share a key in one band may be nearly the same."""
    from rensa import RMinHash

    matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, offsets.astype(np.uint64), BANDS * ROWS, _SEED)
    digests = np.array(matrix.to_rows(), np.uint64).reshape(-1, BANDS, ROWS)
    keys = np.zeros(digests.shape[:2], np.uint64)
    for place in range(ROWS):
        keys = _mixed(keys * _FACTOR + digests[:, :, place])
    return keys


def candidates(keys: Array) -> Iterator[Array]:
    """Pairs (earlier, later) of texts that share a key, band after band: each text of a bucket with its first ones."""
    places = np.arange(len(keys))
    for band in range(keys.shape[1]):
        order = np.argsort(keys[:, band], kind="stable")
        ranked = keys[order, band]
        starts = np.concatenate([[True], ranked[1:] != ranked[:-1]])
        first = np.maximum.accumulate(np.where(starts, places, 0))
        for leader in range(LEADERS):
            members = np.flatnonzero(places - first > leader)
            yield np.stack([order[first[members] + leader], order[members]], axis=1)


def jaccard(first: Array, second: Array) -> float:
    """Jaccard similarity of two texts by their hashes (sorted, each once): the share of all hashes that both have."""
    shared = np.intersect1d(first, second, assume_unique=True).size
    return shared / (first.size + second.size - shared)


def _mixed(values: Array) -> Array:
    """Spreads the bits (the finaliser of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
