"""The row does not ask what a held-out prompt asks: neither one of the eval split of data/prompts.jsonl nor one of the
files in `filter.decontaminate_against`.

The rule is Tülu 3's: half of the held-out prompt's words lie in sequences of eight words that one row's prompt has,
too. Compared is what the user says, without case and punctuation. Sequences that more than two held-out prompts share,
or a tenth of the training prompts, are wording that they have from a template, and do not count. Of a held-out prompt
of which the training prompts have all, the rarest count; one that shares all with others that are held out counts where
a row repeats it as a whole. A held-out prompt does not match if one of its numbers or codes is missing from the row, or
if it expects another answer.
"""

from distill.dataset.checks.context import CheckContext
from distill.dataset.checks.fault import Fault
from distill.records.types import Row

ADVICE = (
    "training prompts repeat held-out ones: give the rows in data/seed/ a split by hand, or change their wording; an"
    " instruction that all of them begin with belongs into the system message"
)


def check(row: Row, context: CheckContext) -> Fault | None:
    if not context.held_out.prompts:
        return None
    messages = row["messages"]
    overlap = context.held_out.overlap(messages, row["metadata"])
    if not overlap:
        return None
    pointers = tuple(
        f"/messages/{place}/content" for place, message in enumerate(messages) if message["role"] == "user"
    )
    return Fault(f"asks what {overlap.where} asks, which is held out ({overlap.share:.0%} of its words)", pointers)
