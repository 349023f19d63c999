"""`judge`: a model decides, once the cheaper comparison has failed; `answer_rubric` tells it what counts.

No model is asked here: the answer stays open (None) until a stage that may spend money asks distill/answers/judge.py.
"""

from distill.answers import expected
from distill.records.types import Metadata

OPTIONS = ("answer_rubric",)


def faults(metadata: Metadata) -> list[str]:
    """The fault of a rubric that is not a text."""
    problems = expected.text_faults(metadata)
    rubric = metadata.get("answer_rubric", "-")
    if not isinstance(rubric, str) or not rubric.strip():
        problems.append("/metadata/answer_rubric: must be a text")
    return problems
