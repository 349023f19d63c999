"""The same work for many items, in this process or in several: the results come in the order of the items.

What is run is `prepare(*setting)(item)`: `prepare` makes a function once per process, from a setting that can be
pickled. Whatever can call that (a loop, a pool, a job of an array on a cluster) can run the work.
"""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from typing import Any, TypeVar

from distill.records.faults import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 2
"""Items per worker that are under way or done and not yet asked for: what bounds memory."""


def run(
    prepare: Callable[..., Callable[[Item], Result]], setting: tuple[Any, ...], items: Iterable[Item], workers: int
) -> Iterator[Result]:
    """`prepare(*setting)(item)` for each item, in order; with one worker, or one item, in this process.

    Raises what the work raises, and InputError where a worker process dies.
    """
    items = iter(items)
    first = list(islice(items, 2))
    if workers == 1 or len(first) < 2:
        work = prepare(*setting)
        yield from map(work, chain(first, items))
        return
    # Fresh processes: threads of libraries that this one has loaded do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _begin, (prepare, setting)) as pool:
        under_way: deque[Future[Result]] = deque()
        try:
            for item in chain(first, items):
                under_way.append(pool.submit(_work, item))
                if len(under_way) == AHEAD * workers:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        except BrokenProcessPool:
            raise InputError(
                f"one of {workers} worker processes died, perhaps for want of memory; lower runtime.workers"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_waiting: list[tuple[Callable[..., Callable[[Any], Any]], tuple[Any, ...]]] = []
_ready: list[Callable[[Any], Any]] = []


def _begin(prepare: Callable[..., Callable[[Any], Any]], setting: tuple[Any, ...]) -> None:
    _waiting.append((prepare, setting))


def _work(item: Any) -> Any:
    if not _ready:  # not in _begin: what is raised there never reaches the caller
        prepare, setting = _waiting[0]
        _ready.append(prepare(*setting))
    return _ready[0](item)
