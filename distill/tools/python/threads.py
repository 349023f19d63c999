"""Runs a user's functions outside of the event loop that asks the teacher, so that none of them can stall it."""

import _thread
import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import thread as pools
from functools import cache
from queue import SimpleQueue
from typing import Any

from distill.project.terminal import say
from distill.records.counted import counted
from distill.tools.resource import explain

MOST_IDLE = 64
"""Threads kept for the next calls: starting one takes half of the CPU time of a call."""
LEFT_S = 5.0
"""How long the end of this process waits for pools that tools use."""
_idle: list[SimpleQueue[Callable[[], None]]] = []
os.register_at_fork(after_in_child=_idle.clear)  # a fork has none of these threads


def in_any(work: Callable[[], None]) -> None:
    """Begins `work` in a thread that is idle, else in a new one."""
    try:
        _idle.pop().put(work)
    except IndexError:
        _thread.start_new_thread(_serve, (work,))  # Thread.start would block the event loop until the thread runs


class OneThread:
    """A thread for calls that share a state, started by the first: a connection of SQLite, say, works only in the thread
    that made it, and a call that was abandoned must not run beside the next."""

    def __init__(self) -> None:
        self._todo: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._started = False

    def start(self, work: Callable[[], None]) -> None:
        """Begins `work` when all before it has ended."""
        self._todo.put(work)
        if not self._started:
            self._started = True
            _thread.start_new_thread(_work_off, (self._todo,))

    def close(self) -> None:
        """Ends the thread when its last work has ended."""
        self._todo.put(None)


def _work_off(todo: SimpleQueue[Callable[[], None] | None]) -> None:
    while work := todo.get():
        work()


async def in_thread(
    function: Callable[..., Any], *arguments: Any, start: Callable[[Callable[[], None]], None] = in_any
) -> Any:
    """The result of a blocking function, run in a thread (`start` gives it to one); one that hangs is abandoned and does
    not delay the exit."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Any] = loop.create_future()

    def settle(setter: Callable[[Any], None], value: Any) -> None:
        if not outcome.done():
            setter(value)

    def work() -> None:
        if outcome.done():  # nobody waits any more
            return
        try:
            result, setter = function(*arguments), outcome.set_result
        except BaseException as error:
            # A SystemExit would end the run, and a future refuses a StopIteration.
            passable = isinstance(error, Exception) and not isinstance(error, StopIteration)
            result, setter = error if passable else RuntimeError(explain(error)), outcome.set_exception
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, setter, result)

    start(work)
    return await outcome


def _serve(work: Callable[[], None]) -> None:
    todo: SimpleQueue[Callable[[], None]] = SimpleQueue()
    while True:
        work()
        del work  # it refers to the whole rollout
        if len(_idle) >= MOST_IDLE:
            return
        _idle.append(todo)
        work = todo.get()


class LoopThread:
    """An event loop in a daemon thread, started by the first `run`.

    All async tools share it: what they keep between calls (a client, a lock) stays with one loop, and a tool that blocks
    delays only the others.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self, work: Awaitable[Any]) -> Any:
        """The result of `work`, which is cancelled with the caller; whatever it raises arrives as an Exception."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, name="async tools", daemon=True).start()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_guarded(work), self._loop))

    def close(self) -> None:
        """Ends the loop; what still runs in it is abandoned."""
        if self._loop:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None


async def _guarded(work: Awaitable[Any]) -> Any:
    try:
        return await work
    except BaseException as error:
        task = asyncio.current_task()
        if task and task.cancelling():  # nobody waits any more; asyncio would print whatever it ends with
            return None
        if isinstance(error, Exception):
            raise
        raise RuntimeError(explain(error)) from None  # SystemExit would end the loop, CancelledError the rollout


@cache
def abandon_pools() -> None:
    """Lets this process end though a thread of a pool (`ThreadPoolExecutor`, `asyncio.to_thread`) hangs, as a tool's own
    does: Python would wait for those of all pools. A pool that a tool uses has daemon threads, as tools run in such ones.
    What calls have left to it, such as a line for a log, has LEFT_S more."""
    threading._register_atexit(_abandon)  # type: ignore[attr-defined]  # just before Python waits


def _abandon() -> None:
    with pools._global_shutdown_lock:
        pools._shutdown = True  # as Python does next, so that a thread ends when nothing is left to do
    threads = {thread: todo for thread, todo in pools._threads_queues.items() if thread.daemon}  # type: ignore[attr-defined]
    for todo in threads.values():
        todo.put(None)
    end = time.monotonic() + LEFT_S
    for thread in threads:
        thread.join(max(0, end - time.monotonic()))
    hanging = [thread for thread in threads if thread.is_alive()]
    for thread in hanging:
        del pools._threads_queues[thread]  # type: ignore[attr-defined]
    if hanging:
        say(
            f"warning: {counted(len(hanging), 'thread')} of pools that tools use did not end, and what was left to them is lost"
        )
