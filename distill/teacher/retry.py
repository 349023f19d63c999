"""Another try for what may pass the second time: waits that double, or as long as the server says."""

import random
from collections.abc import Awaitable, Callable

from distill.teacher.answer import Answer
from distill.teacher.errors import Transient
from distill.teacher.halt import Halt

ATTEMPTS = 6
RATE_LIMITED = 100
"""A rate limit is no fault of the request, and the throttle slows down meanwhile; this many take an hour and a half where
the server does not say how long to wait."""
TIMEOUTS = 2
"""What takes too long twice would most likely do so again, and each time may be billed."""
FIRST_WAIT_S = 1.0
LONGEST_PAUSE_S = 60.0
PATIENT = {"rate_limit", "flex_busy"}


async def until_answered(ask: Callable[[], Awaitable[Answer]], halt: Halt) -> Answer:
    """The answer of `ask`, tried again while it raises Transient: 6 times, 100 for rate limits, 2 for timeouts that may
    be billed; then that is raised.

    Raises Fatal when the run is stopped meanwhile.
    """
    tried = {True: 0, False: 0}
    timeouts = 0
    while True:
        try:
            answer = await ask()
        except Transient as error:
            patient = error.kind in PATIENT
            tried[patient] += 1
            timeouts += error.kind == "timeout" and error.maybe_billed
            if tried[patient] >= (RATE_LIMITED if patient else ATTEMPTS) or timeouts == TIMEOUTS:
                raise
            await halt.sleep(_wait_s(error, tried[patient]))
        else:
            answer["attempts"] = sum(tried.values()) + 1
            return answer


def _wait_s(error: Transient, tried: int) -> float:
    if error.retry_after_s:  # "0" and a date that is past say nothing of when
        return error.retry_after_s
    doubled = min(FIRST_WAIT_S * 2 ** (tried - 1), LONGEST_PAUSE_S)
    return doubled * random.uniform(0.75, 1.25)  # so that a thousand refused requests do not come back as one
