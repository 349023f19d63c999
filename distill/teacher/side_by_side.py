"""Works on many items at once, and ends so that no answer that was paid for is lost."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from distill.teacher.errors import Fatal
from distill.teacher.teacher import Teacher

Item = TypeVar("Item")


async def side_by_side(items: Iterable[Item], teacher: Teacher, work: Callable[[Item], Awaitable[None]]) -> None:
    """Awaits `work(item)` for every item, as many at a time as the model allows.

    Raises Fatal when going on is useless or the run was stopped. By then every request in flight is answered and its
    answer stored; anything else that `work` was waiting for is cancelled.
    """
    all_items = list(items)
    remaining = iter(all_items)

    async def worker() -> None:
        for item in remaining:
            try:
                await work(item)
            except Fatal as error:
                teacher.halt.stop(error)
                return
            except Exception:
                # A full disk, a bug of ours: the answers to the other requests in flight must not be lost.
                teacher.halt.stop(Fatal("interrupted", "stopped by an error"))
                raise

    workers = [asyncio.create_task(worker()) for _ in range(min(teacher.model.max_concurrent, len(all_items)))]
    stopped = asyncio.create_task(teacher.halt.wait())
    try:
        all_done: asyncio.Future[Any] = asyncio.gather(*workers, return_exceptions=True)
        await asyncio.wait([all_done, stopped], return_when=asyncio.FIRST_COMPLETED)
        if not all_done.done():
            await teacher.idle()
    finally:
        for task in (*workers, stopped):
            task.cancel()
        results = await asyncio.gather(*workers, stopped, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
    forbidden = teacher.forbidden()
    if reason := teacher.halt.reason or forbidden:
        raise reason
