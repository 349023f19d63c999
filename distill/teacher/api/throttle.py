"""Limits the requests in flight to what the API takes: the limit doubles until it is first cut, then grows slowly. A rate
limit cuts it, and so do other signs of overload where there are many; nothing is sent while the server asks to wait.
Optional rates space the requests out.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from distill.teacher.api.rate_limit_headers import DAILY_LIMIT_S, used_up_s
from distill.teacher.errors import ApiError, Transient
from distill.teacher.halt import Halt

FIRST_LIMIT = 64
"""Requests in flight before anything is known about the server."""
CUT_FACTOR = 0.75
"""What the limit is multiplied with when the server is congested."""
SUCCESSES_PER_STEP = 25
"""After a first cut, the limit grows by one for so many good answers."""
CONGESTION = frozenset({"rate_limit", "overloaded", "flex_busy", "timeout", "connection"})
SURE = frozenset({"rate_limit", "flex_busy"})
"""The kinds of errors of which a single one means that there are too many requests."""
TOLERATED = 0.05
"""The share of requests that may fail in the other ways: a large API fails one in a hundred however few are sent."""


class Throttle:
    """Gives out slots for requests. `limit` is the number of slots now, `ceiling` the most there may be, `congestion` the
    kinds of errors that cut the limit. `trouble` is the last error after which requests are sent again, until one is
    answered."""

    def __init__(self, ceiling: int, halt: Halt, per_minute: int | None = None, tokens_per_minute: int | None = None):
        self.ceiling, self.halt = ceiling, halt
        self.congestion = CONGESTION
        self.trouble: Transient | None = None
        self.limit = float(min(FIRST_LIMIT, ceiling))
        self.in_flight = 0
        self._interval_s = 60 / per_minute if per_minute else 0.0
        self._token_s = 60 / tokens_per_minute if tokens_per_minute else 0.0
        self._blocked_until = 0.0
        self._cut_at = 0.0
        self._strain = 0.0
        self._doubling = True
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()
        self._sent: dict[asyncio.Future[None], float] = {}
        self._timer: asyncio.TimerHandle | None = None
        halt.on_stop(self._wake_all)

    @asynccontextmanager
    async def slot(self, tokens: int) -> AsyncIterator[None]:
        """A slot for one request of about `tokens` tokens.

        Entering raises Fatal when the run is stopped meanwhile. The exception of the block, or that there is none, adjusts
        the limit; give the headers of good answers to `read_headers`.
        """
        self.halt.check()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, tokens))
        self._fill_slots()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release()
            raise
        sent_at = self._sent[turn] = asyncio.get_running_loop().time()
        try:
            self.halt.check()
            yield
            self.trouble = None
            self._grow()
        except ApiError as error:
            if isinstance(error, Transient):
                self.trouble = error
            self._cut(error, sent_at)
            raise
        finally:
            del self._sent[turn]
            self._release()

    def read_headers(self, headers: Mapping[str, str]) -> None:
        """Reads `x-ratelimit-*`: when nothing remains, nothing is sent until the reset.

        A reset that is hours away belongs to a daily limit and is ignored; the next refusal says how long to wait.
        """
        wait_s = used_up_s(headers)
        if 0 < wait_s <= DAILY_LIMIT_S:
            self._block(wait_s)

    @property
    def pause_s(self) -> float:
        """Seconds until the next request may be sent, 0.0 if one may be sent now."""
        return max(0.0, self._blocked_until - asyncio.get_running_loop().time())

    @property
    def oldest_s(self) -> float:
        """Seconds since the oldest request in flight was sent, 0.0 if there is none."""
        return asyncio.get_running_loop().time() - next(iter(self._sent.values())) if self._sent else 0.0

    def _release(self) -> None:
        self.in_flight -= 1
        self._fill_slots()

    def _fill_slots(self) -> None:
        """Lets as many waiting requests go on as there are free slots; while sending is blocked, sets a timer."""
        now = asyncio.get_running_loop().time()
        while self._waiting and self.in_flight < int(self.limit) and self._blocked_until <= now:
            turn, tokens = self._waiting.popleft()
            if turn.done():
                continue
            self.in_flight += 1
            pause = max(self._interval_s, tokens * self._token_s)
            if pause:
                self._blocked_until = max(self._blocked_until, now - pause) + pause
            turn.set_result(None)
        if self._waiting and self._blocked_until > now and self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(self._blocked_until, self._timer_ended)

    def _timer_ended(self) -> None:
        self._timer = None
        self._fill_slots()

    def _grow(self) -> None:
        self._strain = max(0.0, self._strain - TOLERATED)
        if self.in_flight >= int(self.limit):  # a limit that is not reached says nothing about the server
            self.limit = min(self.ceiling, self.limit + (1 if self._doubling else 1 / SUCCESSES_PER_STEP))

    def _cut(self, error: ApiError, sent_at: float) -> None:
        """Cuts the limit if `error` is a kind of congestion, and blocks as long as the server asks to wait."""
        if error.kind not in self.congestion:
            return
        if sent_at >= self._cut_at:  # requests that were sent before the last cut say nothing about the limit since
            self._strain += 1
            if error.kind in SURE or self._strain > TOLERATED * self.limit:
                self._doubling, self._strain = False, 0.0
                self.limit = max(1.0, self.limit * CUT_FACTOR)
                self._cut_at = asyncio.get_running_loop().time()
        if error.kind != "connection" and error.retry_after_s:
            self._block(error.retry_after_s)

    def _block(self, seconds: float) -> None:
        self._blocked_until = max(self._blocked_until, asyncio.get_running_loop().time() + seconds)

    def _wake_all(self) -> None:
        """Wakes all that wait, so that they see that the run has been stopped."""
        while self._waiting:
            turn, _ = self._waiting.popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)
