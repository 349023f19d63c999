"""The answer is the expected one, where one is expected."""

from distill.dataset.checks.context import CheckContext
from distill.dataset.checks.fault import Fault
from distill.records.types import Row

ADVICE = (
    "the teacher answers wrongly, or in another form than 'Answer: ...': see outcome.answer; show it how"
    " (teacher.demonstrations), or take a stronger model"
)


def check(row: Row, context: CheckContext) -> Fault | None:
    expected, correct = row["metadata"].get("expected_answer"), row["outcome"]["correct"]
    if correct or expected is None:
        return None
    if correct is None:
        return Fault("no judge has been asked whether the answer is right")
    given = row["outcome"]["answer"]
    answered = "no answer" if given is None else f"answered {given[:100]!r}"
    return Fault(f"{answered}, expected {str(expected)[:100]!r}", ("/outcome/answer",))
