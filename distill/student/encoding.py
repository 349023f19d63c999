"""Encodes texts of which many begin alike, as the prompts of a conversation's turns do, and all rows with the same tools.

A tokenizer cuts a text at its added tokens before it does anything else, and encodes what is between them piece by piece.
So the pieces can be remembered, and the prompt of a tenth turn costs no more than the messages that are new in it.
"""

import re
from array import array
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

PIECES = 512
"""Pieces of text that are remembered."""
LARGE = 2**17
"""Characters of a piece that is not remembered."""


def by_pieces(encoder: Any) -> Callable[[str], list[int]]:
    """The function from a text, with special tokens spelt out, to the ids that the `tokenizers.Tokenizer` gives it; no token
    is added."""

    added = encoder.get_added_tokens_decoder()

    def whole(text: str) -> list[int]:
        return encoder.encode(text, add_special_tokens=False).ids

    @lru_cache(PIECES)
    def remembered(piece: str) -> "array[int]":  # not subscriptable at run time before Python 3.12
        return array("I", whole(piece))

    cuts = {token.content: id_ for id_, token in added.items() if token.content and not token.normalized}
    if not cuts or not _are_apart(added.values(), whole, cuts):
        return whole
    split = re.compile("(" + "|".join(map(re.escape, sorted(cuts, key=len, reverse=True))) + ")").split

    def encode(text: str) -> list[int]:
        ids: list[int] = []
        for number, piece in enumerate(split(text)):
            if number % 2:
                ids.append(cuts[piece])
            elif piece:
                ids.extend(remembered(piece) if len(piece) < LARGE else whole(piece))
        return ids

    return encode


def _are_apart(added: Iterable[Any], whole: Callable[[str], list[int]], cuts: dict[str, int]) -> bool:
    """Whether a piece has the same ids wherever it stands: some tokens take the spaces beside them, and some tokenizers
    (Metaspace) begin a text in another way."""
    token, id_ = next(iter(cuts.items()))
    return not any(one.lstrip or one.rstrip or one.single_word for one in added) and all(
        whole(token + text + token) == [id_, *whole(text), id_] for text in ("a", " a", "\na ")
    )
