"""`choice`: the expected letter, or the text of that choice. `answer_choices` lists the texts (A, B, …) or maps labels
to them; without it any single letter is a label.
"""

import re
import string

from distill.answers import expected
from distill.answers.exact import fold
from distill.records.types import Metadata

OPTIONS = ("answer_choices",)
_LEAD = r"(?:(?:the )?(?:correct |right |best |final )?(?:answer|option|choice)(?: is)?:? )?(?:(?:option|choice) )?"
_LEAD_IN = re.compile(rf"^{_LEAD}")
_LABELLED = re.compile(
    rf"^{_LEAD}[(\[]?(?P<label>[a-z0-9]{{1,3}})(?P<mark>[)\].:]*(?: ?[\u2013\u2014-])?)(?: (?P<rest>.*))?$"
)
_IN_TEXT = re.compile(
    r"\b(?i:answer|option|choice)(?i: is:?|:) (?i:option |choice )?\**(?:[(\[]([A-Za-z])[)\]]|([A-Z])\b)(?P<rest>[^.;\n]*)"
)
_ANOTHER = re.compile(r"\** ?(?:,? ?(?:or|and|maybe|perhaps|possibly)\b.{0,20}?|[,/&] ?)[(\[]?\b[A-HJ-Z]\b")
"""A second letter right behind the first one; I is mostly a pronoun."""
_LABEL_LAST = re.compile(r"^(?P<text>.+) [(\[](?P<label>[a-z0-9]{1,3})[)\]]$")
_HEDGE = re.compile(r"\b[b-z]\b|\b(?:or|and|not|nor) \(?a\b(?! \w)|\ba\)")
"""Another label in the text behind one; `a` is mostly an article."""


def find(text: str, metadata: Metadata) -> str:
    """The one letter that a text calls its answer, else the whole text."""
    statements = list(_IN_TEXT.finditer(text))
    letters = {(statement[1] or statement[2]).upper() for statement in statements}
    hedged = any(_ANOTHER.match(statement["rest"]) for statement in statements)
    return letters.pop() if len(letters) == 1 and not hedged else text


def why_not(answer: str, metadata: Metadata) -> str | None:
    """None where the answer names the expected choice and no other, by its label, its text, or both."""
    texts = _texts(metadata)
    label = _label(expected.text(metadata), texts)
    given = _plain(answer)
    text = fold(_plain(texts[label])) if label in texts else None
    if text is not None and text in (fold(given), fold(_LEAD_IN.sub("", given))):
        return None
    last = _LABEL_LAST.match(given)
    if last and last["label"] == label and fold(last["text"]) == text:
        return None
    named = _LABELLED.match(given)
    if not named or named["label"] != label:
        others = [*texts, *(fold(_plain(other)) for other in texts.values())] or string.ascii_lowercase
        other = named["label"] if named and (named["mark"] or not named["rest"]) else fold(given)
        return "another choice" if other in others else "not one of the choices" if texts else "not one letter"
    rest = fold(named["rest"]) if named["rest"] else ""
    if not rest:
        return None
    if text is not None:
        return None if rest == text else f"{label.upper()} with another text than '{texts[label]}'"
    return None if named["mark"] and not _HEDGE.search(rest) else f"{label.upper()} with more behind it"


def faults(metadata: Metadata) -> list[str]:
    """The faults of an expected answer that is not among the choices, and of choices that are not texts."""
    problems = expected.text_faults(metadata)
    choices = metadata.get("answer_choices")
    texts = list(choices.values()) if isinstance(choices, dict) else choices
    if choices is not None and (
        not isinstance(texts, list) or len(texts) < 2 or not all(isinstance(text, str) for text in texts)
    ):
        return [
            *problems,
            '/metadata/answer_choices: must be texts, such as ["tea", "milk"] or {"A": "tea", "B": "milk"}',
        ]
    if problems:
        return problems
    labelled = _texts(metadata)
    wanted = _label(expected.text(metadata), labelled)
    if labelled and wanted not in labelled:
        problems.append(f"/metadata/expected_answer: '{expected.text(metadata)}' is none of answer_choices")
    if not labelled and not re.fullmatch(r"[a-z]", wanted):
        problems.append("/metadata/expected_answer: must be one letter, or give answer_choices")
    return problems


def _texts(metadata: Metadata) -> dict[str, str]:
    """Label (in lower case) -> text of each choice; empty where they are not given."""
    choices = metadata.get("answer_choices") or {}
    pairs = choices.items() if isinstance(choices, dict) else zip(string.ascii_uppercase, choices, strict=False)
    return {str(label).strip().casefold(): text for label, text in pairs}


def _label(wanted: str, texts: dict[str, str]) -> str:
    """The label, in lower case, of an expected answer that is a label or the text of a choice."""
    label = wanted.strip().strip("().").casefold()
    if label in texts or not texts:
        return label
    return next((name for name, text in texts.items() if fold(text) == fold(wanted)), label)


def _plain(text: str) -> str:
    """The text in lower case without markdown, dollar signs, extra spaces, the mark at its end and quotation marks around."""
    return " ".join(text.replace("*", "").replace("$", "").split()).casefold().rstrip(".!。").strip("\"'“”‘’")
