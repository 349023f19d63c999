"""`exact`: equal after folding case, spaces, Unicode forms, signs of print, outer punctuation and a leading article; JSON
objects and arrays also after folding their layout and the order of keys."""

import re
import unicodedata

from distill.answers import expected
from distill.answers.signs import typed
from distill.records.ids import canonical_text
from distill.records.types import Metadata

_WRAPPING = ".,;:!?…\"'“”‘’«»()[]{}*_`~。、「」『』《》【】،؛؟ "
_ARTICLE = re.compile(r"^(?:an?|the) ")

faults = expected.text_faults


def why_not(answer: str, metadata: Metadata) -> str | None:
    """None where both texts are equal once folded."""
    wanted, given = (fold(_one_layout(text)) for text in (expected.text(metadata), answer))
    if given == wanted:
        return None
    return "there is more than the expected text" if f" {wanted} " in f" {given} " else "another text"


def _one_layout(text: str) -> str:
    """A JSON object or array in the one layout that all equal ones have; other text unchanged (1.10 is not 1.1)."""
    return canonical_text(text) if text.lstrip()[:1] in ("{", "[") else text


def fold(text: str) -> str:
    """A text without case, extra spaces, Unicode variants, signs of print, outer punctuation and a leading article."""
    spaced = " ".join(typed(unicodedata.normalize("NFKC", text)).casefold().split())
    bare = spaced.strip(_WRAPPING)
    if bare[:1].isdigit() and spaced.partition(bare)[0].endswith("."):
        bare = f".{bare}"  # the point of .5 is no punctuation
    without = _ARTICLE.sub("", bare)
    return (bare if without == bare else without.strip(_WRAPPING)) or spaced
