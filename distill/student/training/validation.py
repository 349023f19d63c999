"""Chooses the training prompts that are held out for the validation loss."""

import hashlib
from collections.abc import Iterable

HELD_OUT = 16  # one prompt in 16
MOST_HELD_OUT = 200  # prompts: more would take longer and not be more exact


def held_out_prompts(prompts: Iterable[str]) -> set[str]:
    """One prompt in HELD_OUT, MOST_HELD_OUT at most, chosen by hash, so that all samples of a prompt fall on one side."""
    ranked = sorted(prompts, key=lambda prompt: hashlib.sha256(f"validation {prompt}".encode()).digest())
    return set(ranked[: min(len(ranked) // HELD_OUT, MOST_HELD_OUT)])
