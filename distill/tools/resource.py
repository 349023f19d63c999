"""Resources that the users of tools hold open: one that may break gets a task of its own, any other is opened lazily.

A client whose connection breaks cancels the task in which it was opened (anyio's cancel scopes), and a rollout must
survive that. Besides, what was opened in one task may be closed only there.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Generic, TypeVar

from distill.records.one_line import innermost, message
from distill.tools.source import SessionLost

T = TypeVar("T")
R = TypeVar("R")
CLOSE_S = 20.0


class TaskOwned(Generic[T]):
    """A resource that is opened, held and closed in a task of its own, so that its failure cancels no other task.

    It begins to open at once; `get` waits for it, `use` works with it, and `close` must be called in any case.
    """

    def __init__(self, resource: AbstractAsyncContextManager[T]):
        self._closing = asyncio.Event()
        self._opened: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._hold(resource))

    @property
    def alive(self) -> bool:
        """Whether it is open or about to be."""
        return not self._task.done()

    @property
    def is_open(self) -> bool:
        """Whether it is open."""
        return self._opened.done() and self.alive

    async def get(self) -> T:
        """The resource. Raises SessionLost when it cannot be opened, or is gone."""
        if self.is_open:
            return self._opened.result()
        waiting: list[asyncio.Future[Any]] = [self._opened, self._task]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            raise SessionLost(self._reason())
        return self._opened.result()

    async def use(self, work: Awaitable[R]) -> R:
        """The result of `work`. Raises SessionLost as soon as the resource is gone."""
        working = asyncio.ensure_future(work)
        try:
            await asyncio.wait([working, self._task], return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise SessionLost(self._reason())
            return working.result()
        finally:
            working.cancel()

    async def close(self) -> None:
        """Closes the resource; one that takes longer than CLOSE_S is cancelled and not waited for."""
        self._closing.set()
        if not self._opened.done():
            self._task.cancel()
        await asyncio.wait([self._task], timeout=CLOSE_S)
        if self._task.done() and not self._task.cancelled():
            self._task.exception()  # marks it as seen: whoever used the resource got it as SessionLost
        self._task.cancel()

    async def _hold(self, resource: AbstractAsyncContextManager[T]) -> None:
        async with resource as opened:
            self._opened.set_result(opened)
            await self._closing.wait()

    def _reason(self) -> str:
        """Why the resource is gone."""
        error = None if self._task.cancelled() else self._task.exception()
        return explain(error) if error else "the connection is closed"


class Lazy(Generic[T]):
    """A resource that nothing can break, so it needs no task; the first `get` opens what `enter` returns."""

    def __init__(self, enter: Callable[[], AbstractAsyncContextManager[T]]):
        self._enter, self._stack, self._lock = enter, AsyncExitStack(), asyncio.Lock()
        self._opened: list[T] = []

    async def get(self) -> T:
        """The resource. Raises SessionLost when it cannot be opened."""
        async with self._lock:
            if not self._opened:
                self._opened.append(await self._stack.enter_async_context(self._enter()))
        return self._opened[0]

    async def use(self, work: Awaitable[R]) -> R:
        """The result of `work`."""
        return await work

    async def close(self) -> None:
        """Closes the resource."""
        await self._stack.aclose()


def explain(error: BaseException) -> str:
    """Class and message of an exception, of a group the first one's; of SessionLost the message only."""
    error = innermost(error)
    text = message(error)
    if isinstance(error, SessionLost):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
