"""Shows the progress of a run: a live line on a terminal, a line now and then elsewhere."""

import asyncio
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from distill.project import terminal
from distill.records.counted import counted
from distill.records.one_line import one_line
from distill.records.types import Rollout
from distill.teacher.speed import Speed
from distill.teacher.teacher import Teacher

TICK_S = 0.5
EVERY_S = 10.0
QUIET_S = 60.0
"""Seconds between lines while no rollout ends: a batch may take a day."""
LIVE_S = 0.2
LONG_S = 60.0
"""Seconds without an answer after which a request's age is shown: a server may take requests and never answer them."""
TROUBLE_CHARS = 80
"""Of a server's words that keep the run waiting."""


class Progress:
    """Prints `done/total` with speed and remaining time.

    `teacher`: who is asked, to show its answers in this run and what they cost; without it only the answers of ended
    conversations are known. `stored`: answers that the unfinished ones of the total have from earlier. `calling`: says how
    many conversations wait for their tools. Speed and remaining time are those of the latest answers, since the first ones
    take longest on a machine that has yet to read the prompts; where most answers come from the store, or most
    conversations wait for tools, the remaining time is that of the latest conversations that ended.

    On a terminal one line is kept up to date; elsewhere a line is printed at most every ten seconds, or every minute
    while nothing ends.
    """

    def __init__(
        self,
        name: str,
        total: int,
        teacher: Teacher | None = None,
        stored: int = 0,
        calling: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.name, self.total = name, total
        self.done = self.failed = self.tokens = 0
        self._made = self._turns = 0
        self._teacher, self._stored, self._calling, self._clock = teacher, stored, calling, clock
        self._live = terminal.is_live()
        self._line_open = False
        self._printed_done = -1
        self.started = self._printed = clock()
        self._speed, self._ended = Speed(self.started), Speed(self.started)

    def add(self, record: Rollout, was_stored: bool = False) -> None:
        """Counts one more record of a conversation that has ended; `was_stored`: before this run."""
        self.done += 1
        self.failed += record["status"] == "failed"
        self.tokens += record["usage"]["output_tokens"]
        if not was_stored:
            self._made += 1
            self._turns += len(record["calls"]) if "calls" in record else record["turns"]
        self.tick()

    def tick(self) -> None:
        """Prints the line if it is time to."""
        now = self._clock()
        self._speed.note(now, self._asked(), self._written())
        self._ended.note(now, self._made, 0)
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
        """The line for a terminal; a narrow one gets it without the least important parts, and always with the time left."""
        parts, wide = self._parts(now), terminal.width()
        for place in (2, -2):  # tokens/s, then the time spent
            if len(", ".join(parts)) > wide:
                del parts[place]
        *parts, left = parts
        room = max(wide - len(f", {left}"), 2)
        return f"{textwrap.shorten(', '.join(parts), room, placeholder=' ..')}, {left}"[:wide]

    def _parts(self, now: float) -> list[str]:
        answers, tokens = self._speed.per_second(now, self._asked(), self._written())
        parts = [f"{self.done}/{self.total} done", f"{self.failed} failed", f"{tokens:.0f} tokens/s"]
        if self._teacher:
            bought = self._teacher.bought
            parts += [counted(bought, "answer") if bought else "no answer yet", *_money(self._teacher)]
        if calling := self._calling():
            parts.append(f"{calling} calling tools")
        return [*parts, _time(now - self.started), self._left(now, answers)]

    def _asked(self) -> int:
        """The answers so far in this run."""
        return self._teacher.bought if self._teacher else self._turns

    def _written(self) -> int:
        """The tokens so far in this run; the records also count those of earlier runs."""
        return self._teacher.bought_tokens if self._teacher else self.tokens

    def _left(self, now: float, answers_per_second: float) -> str:
        missing = self.total - self.done
        replays = self._asked() < self._turns
        if missing and self._made and (replays or 2 * self._calling() > missing):
            ended_per_second, _ = self._ended.per_second(now, self._made, 0)
            return f"{_time(missing / ended_per_second)} left"
        if missing and not (self._made and answers_per_second):
            return "time left unknown"
        under_way = self._stored + self._asked() - self._turns
        to_ask = max(missing, self._turns / max(self._made, 1) * missing - under_way) if missing else 0
        return f"{_time(to_ask / max(answers_per_second, 1e-9))} left"


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


def _money(teacher: Teacher) -> list[str]:
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
        oldest = f" (the oldest for {_time(throttle.oldest_s)})" if throttle.oldest_s >= LONG_S else ""
        parts.append(f"{throttle.in_flight} of {int(throttle.limit)} in flight{oldest}")
        if throttle.pause_s >= 1:
            parts.append(f"next request in {throttle.pause_s:.0f} s")
        if throttle.trouble:
            parts.append(f"{throttle.trouble.kind} ({terminal.plain(one_line(throttle.trouble, TROUBLE_CHARS))})")
    return parts


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 120 else f"{minutes} min"
