"""The assistant does not say that it is the teacher: such rows teach a student to call itself ChatGPT."""

import re2

from distill.dataset.checks import assistant_text
from distill.dataset.checks.context import CheckContext
from distill.dataset.checks.fault import Fault, listed
from distill.records.types import Row

ADVICE = "the teacher speaks about itself: give the assistant a name in the system message, or set the mode to mask"
_MODEL = (
    r"(?:chat ?gpt|gpt-?\d[\w.]*|claude|gemini|bard|deepseek(?:[- ][\w.]+)?|qwen[\w.]*|llama[- ]?\d?[\w.]*|mistral|grok"
    r"|(?:microsoft )?copilot|kimi|glm[- ]?\d[\w.]*|command[- ]r)"
)
_MAKER = (
    r"(?:openai|anthropic|google(?: deepmind)?|deepmind|meta(?: ai)?|deepseek|alibaba(?: cloud)?|mistral(?: ai)?|xai"
    r"|microsoft|moonshot(?: ai)?|zhipu(?: ai)?|cohere)"
)
_AI = (
    r"(?:ai|artificial intelligence)(?: (?:language )?model| assistant| chatbot| system)?|(?:large )?language model"
    r"|machine learning model|chatbot|llm"
)
_PERSON = re2.compile(
    r"(?i) an? (?:ai|artificial intelligence) (?:\w+ ){0,2}(?:engineer|researcher|scientist|developer|expert|specialist|student"
    r"|professor|consultant|enthusiast|ethicist|manager|architect|analyst|startup|company)\b"
)
PATTERN = assistant_text.pattern(
    # At the beginning of a clause, and of the speaker: ELIZA may be described as a chatbot.
    rf"(?:^|[.!?,;:(\n\"'*] ?|\b(?:but|and|so|because|since|that) )(?:as|being) an? (?:{_AI})\b[^.!?\n]{{0,80}}"
    r"\b(?:i|i'm|i've|i'd|i'll|my|me)\b",
    rf"\bi(?:'m| am) (?:just |only )?an? (?:{_AI})(?:[,.;!]| (?:and|so|that|who|created|developed|trained|made|built|by"
    r"|without|designed|here)\b|$)",
    rf"\bi(?:'m| am) {_MODEL}(?:[,.;!]| (?:and|a|an|the|by|from|created|developed|trained|made|your|here)\b|$)",
    rf"\bmy name(?: is|'s) {_MODEL}(?:[,.;!]| (?:and i(?:'m| am|'ll| can| will)|an?|the|by|from)\b|$)",
    rf"(?:^|\b(?:hi|hello|hey)[,.!]* )this is {_MODEL}(?:[^'\w]|$)",
    rf"\bi(?:'m| am) powered by {_MODEL}\b",
    r"\bi(?:'m| am) (?:just |only )?an? (?:ai|llm)[- ](?:powered|based|driven)\b",
    rf"\bi(?:'m| am) (?:just |only )?an? (?:[\w-]+,? ){{0,3}}(?:assistant|model|chatbot|system|bot|ai),? (?:(?:that|which) was )?"
    rf"(?:trained|created|made|built|developed|designed) by {_MAKER}\b",
    rf"\byou(?:'re| are) (?:talking|speaking|chatting) (?:to|with) {_MODEL}\b",
    rf"\b{_MAKER} (?:trained|created|made|built|developed|designed) me(?:[,.;!]| (?:to|as|and|so|with|in|on|for)\b|$)",
    rf"\bi (?:was|am|have been|'ve been) (?:\w+ )?(?:trained|developed|created|made|built|designed) by {_MAKER}\b",
    rf"\bi'm (?:\w+ )?(?:trained|developed|created|made|built|designed) by {_MAKER}\b",
    r"\bmy (?:knowledge|training)(?: data)?(?: only)? (?:cut-?off|ends in|goes up to|was last updated)\b",
    r"\bas of my (?:last |latest |most recent )?(?:knowledge|training) (?:update|cut-?off)\b",
    r"\bas of my (?:last|latest|most recent) (?:training\b|cut-?off\b|update in \w+ ?(?:\d{4}\b)?)",
)
PREFILTER = PATTERN


def check(row: Row, context: CheckContext) -> Fault | None:
    faults = [
        (f"/messages/{place}/{key}", f"speaks of itself as a model: {match.group()!r}")
        for key in ("content", "reasoning_content")
        for place, text in assistant_text.turns(row, key)
        if (match := next((found for found in PATTERN.finditer(text) if not _PERSON.search(found.group())), None))
    ]
    return listed(faults) if faults else None
