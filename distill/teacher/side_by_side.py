"""Many questions at once, and an end at which nothing that was paid for is lost."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from distill.teacher.errors import Fatal
from distill.teacher.teacher import Teacher

Item = TypeVar("Item")


async def side_by_side(items: Iterable[Item], teacher: Teacher, one: Callable[[Item], Awaitable[None]]) -> None:
    """Awaits `one(item)` for every item, as many at a time as the model has places for.

    Raises Fatal when going on is useless or the run was stopped. By then every answer that was on its way has arrived
    and is in the store; whatever else `one` was waiting for is left behind.
    """
    todo = list(items)
    waiting = iter(todo)

    async def work() -> None:
        for item in waiting:
            try:
                await one(item)
            except Fatal as error:
                teacher.halt.stop(error)
                return
            except Exception:  # a full disk, a fault of ours: what the others have on their way must not be lost by it
                teacher.halt.stop(Fatal("interrupted", "stopped by an error"))
                raise

    workers = [asyncio.create_task(work()) for _ in range(min(teacher.model.places, len(todo)))]
    stopped = asyncio.create_task(teacher.halt.wait())
    try:
        everything: asyncio.Future[Any] = asyncio.gather(*workers, return_exceptions=True)
        await asyncio.wait([everything, stopped], return_when=asyncio.FIRST_COMPLETED)
        if not everything.done():
            await teacher.idle()
    finally:
        for task in (*workers, stopped):
            task.cancel()
        ends = await asyncio.gather(*workers, stopped, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception):
            raise end
    if teacher.halt.reason:
        raise teacher.halt.reason
