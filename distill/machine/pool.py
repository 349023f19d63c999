"""Runs the same work on many items, in this process or in several; results come in the order of the items.

The work is `prepare(*setting)(item)`: `prepare` makes a function once per process, from a setting that can be pickled.
Whatever can call that (a loop, a pool, a job array on a cluster) can run the work.
"""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from itertools import chain, islice
from typing import Any, TypeVar

from distill.records.faults import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 2
"""Items per worker that are in progress, or done and not yet consumed: this bounds memory."""


def run(
    prepare: Callable[..., Callable[[Item], Result]], setting: tuple[Any, ...], items: Iterable[Item], workers: int
) -> Iterator[Result]:
    """`prepare(*setting)(item)` for each item, in order; with one worker, or one item, in this process.

    Raises what the work raises, and InputError when a worker process dies.
    """
    items = iter(items)
    first_two = list(islice(items, 2))
    if workers == 1 or len(first_two) < 2:
        work = prepare(*setting)
        yield from map(work, chain(first_two, items))
        return
    # Fresh processes: threads of libraries that this one has loaded do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _begin, (prepare, setting)) as pool:
        pending: deque[Future[Result]] = deque()
        try:
            for item in chain(first_two, items):
                pending.append(pool.submit(_work, item))
                if len(pending) == AHEAD * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool:
            raise InputError(
                f"one of {workers} worker processes died, perhaps because memory ran out; lower runtime.workers"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_prepared: list[Callable[[], Callable[[Any], Any]]] = []


def _begin(prepare: Callable[..., Callable[[Any], Any]], setting: tuple[Any, ...]) -> None:
    """Leaves the preparing to the first item: an exception raised here would not reach the caller."""
    _prepared.append(cache(lambda: prepare(*setting)))


def _work(item: Any) -> Any:
    return _prepared[0]()(item)
