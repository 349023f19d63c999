"""No text of the row holds a credential: keys and tokens, recognised by the formats that rollouts are kept free of, too.

What is found is never shown. A credential stays in the data when its turn is masked, so there is no such mode; take it
out of the prompts or tools, and revoke it.
"""

from distill.dataset.checks.context import CheckContext
from distill.dataset.checks.fault import Fault, listed
from distill.dataset.checks.texts import texts
from distill.records.credentials import KNOWN
from distill.records.types import Row

ADVICE = "credentials are in the prompts or in what the tools return: see the pointers, take them out, and revoke them"
PREFILTER = KNOWN


def check(row: Row, context: CheckContext) -> Fault | None:
    faults = [
        (pointer, f"holds a credential ({match.lastgroup})")
        for pointer, text in texts(row)
        if (match := KNOWN.search(text))
    ]
    return listed(faults) if faults else None
