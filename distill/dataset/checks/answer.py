"""The answer is the expected one, where one is expected."""

from distill.dataset.checks.context import CheckContext
from distill.dataset.checks.fault import Fault
from distill.records.types import Row

ADVICE = (
    "the teacher answers wrongly, or in another form than 'Answer: ...': see outcome.answer; show it how"
    " (teacher.demonstrations), or take a stronger model"
)

UNASKED = "no judge has been asked whether the answer is right"


def check(row: Row, context: CheckContext) -> Fault | None:
    expected, outcome = row["metadata"].get("expected_answer"), row["outcome"]
    given, correct, why = outcome["answer"], outcome["correct"], outcome["why"]
    if correct or expected is None:
        return None
    if correct is None and why is None:
        return Fault(UNASKED)
    answered = "no answer" if given is None else f"answered {given[:100]!r}"
    cause = f" ({why})" if why else ""
    return Fault(f"{answered}, expected {str(expected)[:100]!r}{cause}", ("/outcome/answer",))
