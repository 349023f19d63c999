"""The requests that wait for a batch: who awaits the answer, what is reserved for it, how often it was tried."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace

from distill.records.types import Request
from distill.teacher.answer import Answer
from distill.teacher.cost.budget import Budget, Reservation
from distill.teacher.errors import ApiError, Fatal

QUIET_S = 0.2
"""When no request has arrived for this long, the batch is put together."""
ATTEMPTS = 6
"""Batches that a request is put into before its error is final."""


@dataclass
class QueuedRequest:
    """A request whose answer is awaited, the most it may cost, in USD, and the money that is reserved for it."""

    request: Request
    max_cost: float
    answer: "asyncio.Future[Answer]"
    attempts: int = 0
    reservation: Reservation | None = None


class BatchQueue:
    """The requests of one run, by key. A batch may also hold keys that are not queued here: an earlier run created it."""

    def __init__(self) -> None:
        self._queued: dict[str, QueuedRequest] = {}
        self._added = asyncio.Event()

    def add(self, key: str, request: Request, max_cost: float) -> "asyncio.Future[Answer]":
        """Queues a request and returns the future of its answer; equal requests share one."""
        if key in self._queued:
            return self._queued[key].answer
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._queued[key] = QueuedRequest(request, max_cost, future)
        self._added.set()
        return future

    async def wait_until_quiet(self) -> None:
        """Waits until there are requests, and then until no more are added for QUIET_S."""
        while not self._queued or self._added.is_set():
            if not self._queued:
                await self._added.wait()
            self._added.clear()
            await asyncio.sleep(QUIET_S)

    def except_for(self, keys: set[str]) -> dict[str, QueuedRequest]:
        """The queued requests whose key is not among `keys`."""
        return {key: queued for key, queued in self._queued.items() if key not in keys}

    def has_any(self, keys: Iterable[str]) -> bool:
        """Whether one of `keys` is queued."""
        return not self._queued.keys().isdisjoint(keys)

    async def reserve(self, budget: Budget, others: set[str]) -> list[tuple[str, Request]]:
        """The queued requests that are not among `others` and fit the budget; their money is reserved. Raises Fatal when none
        fits and no answer to one of `others` is awaited here."""
        unordered = self.except_for(others)
        fitting = any(budget.fits(queued.max_cost) for queued in unordered.values())
        if unordered and not fitting and not self.has_any(others):
            await budget.reserve(min(queued.max_cost for queued in unordered.values()))  # raises Fatal
        chosen: list[tuple[str, Request]] = []
        for key, queued in unordered.items():
            if budget.fits(queued.max_cost):
                queued.reservation = await budget.reserve(queued.max_cost)
                chosen.append((key, queued.request))
        return chosen

    def release_reservations(self, keys: Iterable[str]) -> None:
        """Gives back the money for a batch that never began, and so was not billed. Its requests stay queued."""
        for queued in (self._queued[key] for key in keys if key in self._queued):
            if queued.reservation:
                queued.reservation.release(maybe_billed=False)
                queued.reservation = None

    def resolve(self, key: str, answer: Answer) -> None:
        """Pays for the answer and gives it to whoever awaits it, if anybody does."""
        queued = self._queued.pop(key, None)
        if queued and queued.reservation:
            queued.reservation.settle(answer["cost_usd"])
        if queued and not queued.answer.done():
            queued.answer.set_result(answer)

    def fail(self, key: str, error: ApiError, retry: bool) -> None:
        """Queues the request for another batch if `retry` and it has attempts left; else raises `error` where it is
        awaited."""
        queued = self._queued.pop(key, None)
        if queued is None:
            return
        if queued.reservation:
            queued.reservation.release(error.maybe_billed)
        if retry and queued.attempts + 1 < ATTEMPTS:
            self._queued[key] = replace(queued, attempts=queued.attempts + 1, reservation=None)
        elif not queued.answer.done():
            queued.answer.set_exception(error)

    def fail_all(self, reason: Fatal) -> None:
        """Raises `reason` wherever an answer is awaited, since the run is stopped."""
        for queued in self._queued.values():
            if not queued.answer.done():
                queued.answer.set_exception(Fatal(reason.kind, reason.message, reason.http_status))
        self._queued.clear()
