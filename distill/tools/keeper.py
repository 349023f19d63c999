"""Holds a resource open in a task of its own, so that whoever uses it is not torn down with it.

A client whose connection breaks cancels the task that it was opened in (anyio's cancel scopes); a rollout must outlive
that. And what was opened in one task may be closed only there. What cannot break needs no task: `Entered`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Generic, TypeVar

from distill.tools.source import SessionLost

T = TypeVar("T")
R = TypeVar("R")
CLOSE_S = 20.0


class Keeper(Generic[T]):
    """Begins to open `resource` at once; `get` waits for it, `use` works with it, `close` is to be called in any case."""

    def __init__(self, resource: AbstractAsyncContextManager[T]):
        self._closing = asyncio.Event()
        self._opened: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._keep(resource))

    @property
    def alive(self) -> bool:
        """Whether it is open or about to be."""
        return not self._task.done()

    async def get(self) -> T:
        """The resource. Raises SessionLost when it cannot be opened, or is gone."""
        if self._opened.done() and not self._task.done():
            return self._opened.result()
        waiting: list[asyncio.Future[Any]] = [self._opened, self._task]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            raise SessionLost(self._end())
        return self._opened.result()

    async def use(self, work: Awaitable[R]) -> R:
        """What `work` returns. Raises SessionLost as soon as the resource is gone."""
        working = asyncio.ensure_future(work)
        try:
            await asyncio.wait([working, self._task], return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise SessionLost(self._end())
            return working.result()
        finally:
            working.cancel()

    async def close(self) -> None:
        """Closes the resource; one that does not close in 20 s is left to its fate."""
        self._closing.set()
        if not self._opened.done():
            self._task.cancel()
        await asyncio.wait([self._task], timeout=CLOSE_S)
        if self._task.done() and not self._task.cancelled():
            self._task.exception()  # who used it was told
        self._task.cancel()

    async def _keep(self, resource: AbstractAsyncContextManager[T]) -> None:
        async with resource as opened:
            self._opened.set_result(opened)
            await self._closing.wait()

    def _end(self) -> str:
        if self._task.cancelled() or not self._task.exception():
            return "the connection is closed"
        return explain(self._task.exception())


class Entered(Generic[T]):
    """As Keeper, for what nothing can tear down: `enter` gives the resource, which is opened by the first `get`."""

    def __init__(self, enter: Callable[[], AbstractAsyncContextManager[T]]):
        self._enter, self._stack, self._turn = enter, AsyncExitStack(), asyncio.Lock()
        self._opened: list[T] = []

    async def get(self) -> T:
        """The resource. Raises SessionLost when it cannot be opened."""
        async with self._turn:
            if not self._opened:
                self._opened.append(await self._stack.enter_async_context(self._enter()))
        return self._opened[0]

    async def use(self, work: Awaitable[R]) -> R:
        """What `work` returns."""
        return await work

    async def close(self) -> None:
        """Closes the resource."""
        await self._stack.aclose()


def explain(error: BaseException | None) -> str:
    """An exception in a line; of a group the first that says something."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, SessionLost):
        return str(error)
    try:
        words = str(error)
    except Exception:  # a class of the user's may fail even at that
        words = ""
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
