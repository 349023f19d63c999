"""Retries with exponential backoff, or after as long as the server asks to wait."""

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from distill.teacher.errors import Transient
from distill.teacher.halt import Halt

ATTEMPTS = 6
"""Attempts at one request, rate limits not counted."""
RATE_LIMITED_ATTEMPTS = 100
"""A rate limit is not the request's fault, and the throttle slows down meanwhile. So many take an hour and a half where the
server does not say how long to wait."""
BILLED_TIMEOUTS = 2
"""A request that takes too long twice would most likely do so again, and each time may be billed."""
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
"""Where the server does not say how long to wait, the wait doubles from the first to the longest."""
RATE_LIMITS = {"rate_limit", "flex_busy"}
Reply = TypeVar("Reply")


async def until_answered(ask: Callable[[], Awaitable[Reply]], halt: Halt) -> Reply:
    """What `ask` returns, which is called again while it raises Transient: up to 6 times, 100 for rate limits, 2 for
    timeouts that may be billed. Then that error is raised.

    Raises Fatal when the run is stopped meanwhile.
    """
    failures = rate_limits = timeouts = 0
    while True:
        try:
            return await ask()
        except Transient as error:
            if error.kind in RATE_LIMITS:
                rate_limits += 1
            else:
                failures += 1
            timeouts += error.kind == "timeout" and error.maybe_billed
            if failures == ATTEMPTS or rate_limits == RATE_LIMITED_ATTEMPTS or timeouts == BILLED_TIMEOUTS:
                raise
            await halt.sleep(_wait_s(error, rate_limits if error.kind in RATE_LIMITS else failures))


def _wait_s(error: Transient, attempts: int) -> float:
    if error.retry_after_s:  # 0, and a date in the past, are not the server's wish: then we back off, too
        return error.retry_after_s
    backoff_s = min(FIRST_WAIT_S * 2 ** (attempts - 1), LONGEST_WAIT_S)
    return backoff_s * random.uniform(0.75, 1.25)  # so that a thousand refused requests do not come back as one
