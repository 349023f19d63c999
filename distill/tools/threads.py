"""Where a user's functions run: never in the event loop that asks the teacher, so that none of them can stall it."""

import _thread
import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from typing import Any

from distill.tools.keeper import explain

IDLE = 64
"""Threads that wait for the next call, at most: to start one takes half of the CPU time of a call."""
_idle: list[SimpleQueue[Callable[[], None]]] = []
os.register_at_fork(after_in_child=_idle.clear)  # a fork has none of them


async def in_thread(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Runs a blocking function in a thread: one that hangs is left behind and does not hold up the exit."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Any] = loop.create_future()

    def settle(setter: Callable[[Any], None], value: Any) -> None:
        if not outcome.done():
            setter(value)

    def work() -> None:
        try:
            result, setter = function(**arguments), outcome.set_result
        except BaseException as error:
            # A SystemExit would end the run, and no future takes a StopIteration.
            ours = isinstance(error, Exception) and not isinstance(error, StopIteration)
            result, setter = error if ours else RuntimeError(explain(error)), outcome.set_exception
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, setter, result)

    try:
        _idle.pop().put(work)
    except IndexError:
        _thread.start_new_thread(_serve, (work,))  # Thread.start waits until it runs, and all other rollouts with it
    return await outcome


def _serve(work: Callable[[], None]) -> None:
    todo: SimpleQueue[Callable[[], None]] = SimpleQueue()
    while True:
        work()
        del work  # and the rollout with it
        if len(_idle) >= IDLE:
            return
        _idle.append(todo)
        work = todo.get()


class LoopThread:
    """An event loop in a daemon thread of its own, begun when it is first needed: all async tools share it, so what they
    keep between calls (a client, a lock) stays with one loop, and one that blocks holds up the others only."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self, work: Awaitable[Any]) -> Any:
        """What `work` returns. It is cancelled with the caller; whatever it raises is an Exception here."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, name="async tools", daemon=True).start()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_guarded(work), self._loop))

    def close(self) -> None:
        """Ends the loop; what still runs in it is left behind."""
        if self._loop:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None


async def _guarded(work: Awaitable[Any]) -> Any:
    try:
        return await work
    except Exception:
        raise
    except BaseException as error:  # SystemExit would end the loop, CancelledError the rollout
        raise RuntimeError(explain(error)) from None
