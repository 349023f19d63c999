"""As many requests in flight as the API takes: the number doubles until a first refusal, then grows slowly and is cut
by each one, and nothing is sent while the server asks to wait. Optional ceilings space the requests out.
"""

import asyncio
from collections import deque
from collections.abc import Mapping

from distill.teacher.errors import ApiError
from distill.teacher.halt import Halt
from distill.teacher.waits import DAILY_LIMIT_S, used_up_s

START = 64
"""Requests in flight before anything is known."""
CUT = 0.75
SUCCESSES_PER_STEP = 25
CONGESTION = frozenset({"rate_limit", "overloaded", "flex_busy", "timeout", "connection"})


class Throttle:
    """Hands out places for requests. `limit` is the number of places now, `ceiling` the most there may be, `congestion`
    the kinds of errors that cut it."""

    def __init__(self, ceiling: int, halt: Halt, per_minute: int | None = None, tokens_per_minute: int | None = None):
        self.ceiling, self.halt = ceiling, halt
        self.congestion = CONGESTION
        self.limit = float(min(START, ceiling))
        self.in_flight = 0
        self._interval_s = 60 / per_minute if per_minute else 0.0
        self._token_s = 60 / tokens_per_minute if tokens_per_minute else 0.0
        self._free_at = 0.0
        self._cut_at = 0.0
        self._growing = True
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        halt.on_stop(self._let_go)

    def place(self, tokens: int) -> "Place":
        """A place for one request of about `tokens` tokens, to be used in `async with`.

        Entering raises Fatal when the run is stopped meanwhile. What the block raises tells the throttle how it went;
        report the headers of good answers with `seen`.
        """
        return Place(self, tokens)

    def seen(self, headers: Mapping[str, str]) -> None:
        """Reads `x-ratelimit-*`: when nothing remains, nothing is sent until the reset.

        A reset that is hours away belongs to a daily limit and is passed over; the next refusal says how long to wait.
        """
        wait = used_up_s(headers)
        if 0 < wait <= DAILY_LIMIT_S:
            self._block(wait)

    @property
    def pause_s(self) -> float:
        """Seconds until the next request may be sent, 0.0 if one may be sent now."""
        return max(0.0, self._free_at - asyncio.get_running_loop().time())

    def _leave(self) -> None:
        self.in_flight -= 1
        self._wake()

    def _wake(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._waiting and self.in_flight < int(self.limit) and self._free_at <= now:
            turn, tokens = self._waiting.popleft()
            if turn.done():
                continue
            self.in_flight += 1
            pause = max(self._interval_s, tokens * self._token_s)
            if pause:
                self._free_at = max(self._free_at, now - pause) + pause
            turn.set_result(None)
        if self._waiting and self._free_at > now and self._alarm is None:
            self._alarm = asyncio.get_running_loop().call_at(self._free_at, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._wake()

    def _succeeded(self) -> None:
        if self.in_flight >= int(self.limit):  # a limit that is not reached says nothing about the server
            self.limit = min(self.ceiling, self.limit + (1 if self._growing else 1 / SUCCESSES_PER_STEP))

    def _refused(self, error: ApiError, started: float) -> None:
        if error.kind not in self.congestion:
            return
        self._growing = False
        if started >= self._cut_at:  # those sent before the last cut know nothing of it
            self.limit = max(1.0, self.limit * CUT)
            self._cut_at = asyncio.get_running_loop().time()
        if error.kind != "connection" and error.retry_after_s:
            self._block(error.retry_after_s)

    def _block(self, seconds: float) -> None:
        self._free_at = max(self._free_at, asyncio.get_running_loop().time() + seconds)

    def _let_go(self) -> None:
        """Lets everyone who waits go on, to find that the run has been stopped."""
        while self._waiting:
            turn, _ = self._waiting.popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)


class Place:
    """The time that one request spends at the server."""

    def __init__(self, throttle: Throttle, tokens: int):
        self._throttle, self._tokens = throttle, tokens

    async def __aenter__(self) -> None:
        throttle = self._throttle
        throttle.halt.check()
        turn = asyncio.get_running_loop().create_future()
        throttle._waiting.append((turn, self._tokens))
        throttle._wake()
        if not turn.done():
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    throttle._leave()
                raise
        if throttle.halt.reason:
            throttle._leave()
            throttle.halt.check()
        self._started = asyncio.get_running_loop().time()

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is None:
            self._throttle._succeeded()
        elif isinstance(error, ApiError):
            self._throttle._refused(error, self._started)
        self._throttle._leave()
