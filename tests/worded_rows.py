"""Rows whose prompts say what a test wants, and random prompts to fill them with."""

import random
from itertools import product
from typing import Any

from rollout_records import rollout

from distill.dataset import convert
from distill.records.ids import content_id

SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
VOCABULARY = ["".join(syllables) for syllables in random.Random(0).sample([*product(SYLLABLES, SYLLABLES)], 900)]


def row(text: str, sample: int = 0, system: str = "You work in a shop.", **outcome: Any) -> dict[str, Any]:
    made = convert.row(rollout(sample=sample, metadata={}))
    made["messages"][:2] = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    made["prompt_id"] = content_id(made["messages"][:2])
    made["rollout_id"] = content_id([made["prompt_id"], sample])
    made["outcome"] |= {"correct": True} | outcome
    return made


def sentences(draw: random.Random, words: int) -> list[str]:
    """Words as frequent as in life: few are common, most are rare."""
    return [VOCABULARY[min(int(draw.paretovariate(0.35)), len(VOCABULARY)) - 1] for _ in range(words)]
