"""What a judge's words come to: correct, wrong, or no verdict.

Small judges seldom end with the line that they are asked for. Their words are read leniently, but never so that a text
which does not plainly say `correct` comes out as that: a wrong accept becomes training data.
"""

import re
from typing import NamedTuple

from distill.answers.signs import typed

RIGHT = ("correct", "right")
LONGEST = 200
"""Characters of a reason that is shown."""
_MARKDOWN = re.compile(r"[*`#~]|^\s*>+|\b_+|_+\b", re.MULTILINE)
_SPACES = re.compile(r"[^\S\n]+")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\s*\n\s*")

_WORD = r"(?P<negated>not\W+)?(?P<word>correct|right|incorrect|wrong)"
_LABEL = r"(?:verdict|ruling|judge?ment|conclusion)"
_SO = r"(?:so|thus|hence|therefore|which means)"
_NAMED = r"(?: (?:given|to compare|in question|[\"'“‘].{1,200}?[\"'”’]))?"
_SUBJECT = (
    r"(?:(?:(?:the|this|that|my|its|their|your|given|final|provided|submitted|user's|student's|model's) )*"
    r"(?:answer|response|verdict|ruling|conclusion|it|this|that)"
    rf"{_NAMED} (?:is|=) )"
)
_SURE = r"(?:(?:therefore|thus|hence|also|indeed|clearly|plainly|simply|considered|completely|entirely|fully) )*"

_OPEN = r"\W*\?|\s*/|\W*(?:or|if)\b"
_LABELLED = rf"{_LABEL}\W+(?:(?:is|=)\W+)?{_WORD}\b(?!{_OPEN})"  # Verdict: correct
_ANYWHERE = re.compile(_LABELLED, re.IGNORECASE)
_AT_ONCE = re.compile(rf"\W*(?:(?:{_SO}|overall|the|my|final)\W+)*{_LABELLED}", re.IGNORECASE)
_WHOLE = (
    rf"^(?:(?:(?:final )?(?:{_LABEL}|answer):|(?:{_SO}|overall|in conclusion),?) )?(?:{_SUBJECT})?"  # It is correct
)
_CLAUSE = rf"(?:[,;—] (?:and |but )?(?:{_SO},? )?|\b{_SO},? ){_SUBJECT}"  # Both name one drug, so it is correct
_IN_WORDS = re.compile(rf"(?:{_WHOLE}|{_CLAUSE}){_SURE}[\"'“]?{_WORD}[\"'”.!]*$", re.IGNORECASE)
_BECAUSE = re.compile(rf"(?:{_SO},? )?{_SUBJECT}{_SURE}{_WORD},? (?:because|since|as)\b", re.IGNORECASE)
_LIMITED = re.compile(r"\W*(?:only|but|except|although|though|however|unless)\b", re.IGNORECASE)
"""Behind `Verdict: correct`: then it is not plainly that. What is wrong stays wrong."""
_TAKEN_BACK = re.compile(
    r"\b(?:wrong|incorrect|not|no|never|but|however|although|though|except|only|if(?! there is)|unless|contradicts?)\b|n['’]t\b",
    re.IGNORECASE,
)
"""Behind `The answer is correct because`: what may say the opposite."""
_DOUBT = re.compile(
    r"^no\b|\b(?:if|whether|unless|would|could|may|might|claim\w*|insist\w*|says? that)\b", re.IGNORECASE
)
"""Before such a clause: what leaves open whether the judge means it."""


class Ruling(NamedTuple):
    """What a judge found of one answer."""

    correct: bool | None
    """None: it gave no verdict."""
    why: str
    """Its reason in one line, at most LONGEST characters of it."""
    cost_usd: float | None = 0.0
    """What the answer cost in which it was found; None where that is not known."""


def ruling(said: str) -> Ruling:
    """The ruling in a judge's words: by the sentence in which it ends, else by the last before it that says so plainly."""
    plain = _MARKDOWN.sub("", _SPACES.sub(" ", said)).strip()
    sentences = [sentence for sentence in _SENTENCE_END.split(plain) if sentence]
    for place in range(len(sentences) - 1, -1, -1):
        correct = _verdict(sentences[place], " ".join(sentences[place + 1 :]))
        if correct is not None:
            labelled = _AT_ONCE.match(sentences[place])
            reason = " ".join(sentences[:place] + sentences[place + 1 :]) if labelled else said
            return Ruling(correct, f"the judge says: {_short(reason or said)}")
    return Ruling(None, f"the judge gave no verdict: {_short(said) or 'it said nothing'}")


def trusted(found: Ruling, answer: str, reference: str) -> Ruling:
    """The ruling; none where it is `correct` and the answer names such a verdict itself, which the judge may have quoted or
    obeyed. Where the reference names one, too, it belongs there."""
    if found.correct and _names_correct(answer) and not _names_correct(reference):
        return found._replace(correct=None, why="the judge gave no verdict that counts: the answer names one itself")
    return found


def _names_correct(text: str) -> bool:
    return any(_meaning(label) for label in _ANYWHERE.finditer(typed(text)))


def no_answer(message: str) -> Ruling:
    """The ruling where the judge would not answer."""
    return Ruling(None, f"the judge gave no verdict: it refused to answer: {_short(message)}")


def _verdict(sentence: str, after: str) -> bool | None:
    """What a sentence rules, None for nothing: the last one may do so in any plain words, one with others `after` it by its
    label or with its reason."""
    if because := _BECAUSE.match(sentence):
        doubted = because["word"].casefold() in RIGHT and _TAKEN_BACK.search(f"{sentence[because.end() :]} {after}")
        return None if doubted else _meaning(because)
    if after:
        labelled = _AT_ONCE.match(sentence)
        return _meaning(labelled) if labelled else None
    if in_words := _IN_WORDS.search(sentence):
        return None if _DOUBT.search(sentence[: in_words.start()]) else _meaning(in_words)
    labels = list(_ANYWHERE.finditer(sentence))
    return _meaning(labels[-1]) if labels else None


def _meaning(match: re.Match[str]) -> bool | None:
    """What the word says; None for `not wrong`, which is not the same as `correct`, and for `correct, but`."""
    is_right = match["word"].casefold() in RIGHT
    if match["negated"]:
        return False if is_right else None
    return None if is_right and _LIMITED.match(match.string, match.end()) else is_right


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
