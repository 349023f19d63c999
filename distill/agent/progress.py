"""Shows the progress of a run: a live line on a terminal, a line now and then elsewhere."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from distill.records import terminal
from distill.records.types import Rollout
from distill.teacher.teacher import Teacher

TICK_S = 0.5
EVERY_S = 10.0
QUIET_S = 60.0
"""Seconds between lines while no rollout ends: a batch may take a day."""
LIVE_S = 0.2


class Progress:
    """Prints `done/total` with speed and remaining time; `more` adds what only the caller knows (money, concurrency).

    `ready`: how many of the total take no time, since they are stored. `tokens`: the tokens written in this run, where
    the records also count earlier ones.

    On a terminal one line is kept up to date; elsewhere a line is printed at most every ten seconds, or every minute
    while nothing ends.
    """

    def __init__(
        self,
        name: str,
        total: int,
        more: Callable[[], str] | None = None,
        ready: int = 0,
        tokens: Callable[[], int] | None = None,
    ):
        self.name, self.total = name, total
        self.done = self.failed = self.tokens = 0
        self._more, self._ready, self._written = more, ready, tokens or (lambda: self.tokens)
        self._live = terminal.is_live()
        self._line_open = False
        self._printed_done = -1
        self.started = self._printed = time.monotonic()

    def add(self, record: Rollout) -> None:
        """Counts one more record of a conversation that has ended."""
        self.done += 1
        self.failed += record["status"] == "failed"
        self.tokens += record["usage"]["output_tokens"]
        self.tick()

    def tick(self) -> None:
        """Prints the line if it is time to."""
        now = time.monotonic()
        pause = LIVE_S if self._live else QUIET_S if self.done == self._printed_done else EVERY_S
        if self.done == self.total or now - self._printed >= pause:
            self._printed, self._printed_done = now, self.done
            if self._live:
                print(f"{terminal.CLEAR}{self._fitting(now)}", end="", flush=True)
                self._line_open = True
            else:
                print(self.line(now), flush=True)
        if self.done == self.total:
            self.close()

    def close(self) -> None:
        """Ends the live line, so that later output starts below it."""
        if self._line_open:
            print(flush=True)
            self._line_open = False

    def line(self, now: float) -> str:
        """The line at a time of the monotonic clock."""
        return f"{self.name}: {', '.join(self._parts(now))}"

    def _fitting(self, now: float) -> str:
        """The line for a terminal; a narrow one gets it without the least important parts."""
        parts, wide = self._parts(now), terminal.width()
        for place in (2, -2):  # tokens/s, then the time spent
            if len(", ".join(parts)) > wide:
                del parts[place]
        return ", ".join(parts)[:wide]

    def _parts(self, now: float) -> list[str]:
        spent = max(now - self.started, 1e-9)
        made_now, missing = max(0, self.done - self._ready), self.total - self.done
        left = f"{_time(spent / max(made_now, 1) * missing)} left" if made_now or not missing else "time left unknown"
        parts = [f"{self.done}/{self.total} done", f"{self.failed} failed", f"{self._written() / spent:.0f} tokens/s"]
        if self._more and (more := self._more()):
            parts.append(more)
        return [*parts, _time(spent), left]


@asynccontextmanager
async def ticking(progress: Progress) -> AsyncIterator[None]:
    """Keeps the line up to date also while nothing ends, and closes it at the end."""

    async def tick() -> None:
        while True:
            await asyncio.sleep(TICK_S)
            progress.tick()

    task = asyncio.create_task(tick())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        progress.close()


def money(teacher: Teacher) -> str:
    """What a run has spent at an API and has in flight; empty for a teacher on this machine."""
    budget, throttle = getattr(teacher.model, "budget", None), getattr(teacher.model, "throttle", None)
    parts = []
    if budget and budget.unpriced:
        parts.append("price unknown, no budget is kept")
    elif budget:
        parts.append(
            f"${budget.spent:.4f} spent" + (f" of ${budget.limit_usd:g}" if budget.limit_usd is not None else "")
        )
    if throttle:
        parts.append(f"{throttle.in_flight} of {int(throttle.limit)} in flight")
        if throttle.pause_s >= 1:
            parts.append(f"the server asks to wait {throttle.pause_s:.0f} s")
    return ", ".join(parts)


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 120 else f"{minutes} min"
