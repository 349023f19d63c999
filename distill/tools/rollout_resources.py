"""What the tools of one rollout hold open: its sandbox, and a caller of each source."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from distill.records.types import Prompt
from distill.tools.resource import Lazy, TaskOwned
from distill.tools.sandbox.sandboxes import Sandboxes
from distill.tools.source import Caller, Source

T = TypeVar("T")


class RolloutResources:
    """Opens everything on `start`, in the background; `close` must be called in any case.

    `places`: limits how many rollouts may have a sandbox or a server's session at the same time.
    """

    def __init__(self, prompt: Prompt, sources: Iterable[Source], sandboxes: Sandboxes, places: asyncio.Semaphore):
        self._prompt, self._sandboxes, self._places = prompt, sandboxes, places
        self._sources = list(dict.fromkeys(sources))
        self._callers: dict[Source, TaskOwned[Caller] | Lazy[Caller]] = {}
        self._sandbox: TaskOwned[Any] | None = None
        self._place: asyncio.Task[Any] | None = None

    def start(self) -> None:
        """Begins to open everything, unless it has begun already."""
        if self._callers or not self._sources:
            return
        docker = self._prompt.get("docker")
        if docker or any(source.stateful for source in self._sources):
            self._place = asyncio.create_task(self._places.acquire())
        if docker:
            self._sandbox = TaskOwned(self._in_place(self._sandboxes.open(self._prompt)))
        for source in self._sources:
            self._callers[source] = (
                TaskOwned(self._open(source)) if source.stateful else Lazy(partial(source.open, self._prompt, None))
            )

    def caller(self, source: Source) -> TaskOwned[Caller] | Lazy[Caller]:
        """The source as this rollout calls it, once it was started."""
        return self._callers[source]

    async def image(self) -> str | None:
        """The id of the sandbox's image; None without a sandbox. Raises SessionLost."""
        return (await self._sandbox.get()).image if self._sandbox else None

    async def close(self) -> None:
        """Closes everything that was opened."""
        await asyncio.gather(*(caller.close() for caller in self._callers.values()))
        if self._sandbox:
            await self._sandbox.close()
        if self._place and not self._place.cancel() and not self._place.cancelled():
            self._places.release()

    @asynccontextmanager
    async def _open(self, source: Source) -> AsyncIterator[Caller]:
        sandbox = await self._sandbox.get() if self._sandbox else None
        async with self._in_place(source.open(self._prompt, sandbox)) as caller:
            yield caller

    @asynccontextmanager
    async def _in_place(self, resource: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
        """`resource`, opened once this rollout has a place."""
        if self._place:
            await asyncio.shield(self._place)
        async with resource as opened:
            yield opened
