"""The assistant does not refuse what it was asked.

Off by default: refusals of harmful requests may be what the student is to keep.
"""

from distill.dataset.checks import assistant_text
from distill.dataset.checks.context import CheckContext
from distill.dataset.checks.fault import Fault, listed
from distill.records.types import Row

ADVICE = "the teacher refuses: say in the system message what is allowed, or change the prompts"
OPENING = 200
"""Characters of a turn that are searched, since a refusal comes first."""
_SORRY = r"(?:i'm |i am )?(?:very |so |really )?sorry|i apologi[sz]e|my apologies|unfortunately|i regret"
_CANNOT = (
    r"i (?:can't|cannot|can not|(?:won't|will not)(?: be able to)?|must decline|have to decline"
    r"|(?:am|'m) (?:not able|unable|not allowed|not permitted|not comfortable|not going)(?: to)?)"
    r"|i'm (?:not able|unable|not allowed|not permitted|not comfortable|not going)(?: to)?"
)
_WHAT = (
    r"(?:help|assist|comply|fulfil|support|engage|participate|discuss|give advice"
    r"|provide (?:instructions|guidance|advice|help|that information"
    r"|assistance|information (?:on|about) (?:how|illegal|harm))|do that|continue with|create (?:that|this)"
    r"|generate (?:that|this|content)|write (?:that|this)|answer that|with that)"
)
PATTERN = assistant_text.pattern(
    # Not after a quotation mark: whoever is quoted refuses, not the assistant.
    rf"(?:^|[\s(*,.;:!-])(?:{_CANNOT}) (?:to )?(?:\w+ )?{_WHAT}\b",
    rf"^(?:{_SORRY})[,.;:!]* (?:but )?(?:{_CANNOT})(?: (?:to )?(?:\w+ )?{_WHAT}|[.!,]|$)",
    r"\bi (?:(?:must|have to|need to) (?:respectfully )?|respectfully )decline\b",
    r"\bnot something (?:that )?i(?:'m able to| am able to| can) (?:help|assist|do|discuss|provide)\b",
    r"\b(?:inappropriate|not appropriate|unethical) for me to\b",
    r"\bi (?:cannot|can't|could not|will not) in good conscience\b",
    r"\b(?:against|violates?) (?:my|our|openai's) (?:guidelines|polic(?:y|ies)|programming|principles|terms)\b",
)
_IDIOM = assistant_text.pattern(r"\b(?:can't|cannot) help (?:but\b|\w+ing\b)")


def check(row: Row, context: CheckContext) -> Fault | None:
    faults = []
    for place, text in assistant_text.turns(row):
        if match := PATTERN.search(_IDIOM.sub("", text[:OPENING])):
            faults.append((f"/messages/{place}/content", f"refuses: {match.group().strip()!r}"))
        elif row["messages"][place].get("refusal"):
            faults.append((f"/messages/{place}/refusal", "refuses"))
    return listed(faults) if faults else None
