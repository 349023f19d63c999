"""The questions that wait for a batch: who asked, what is set aside for the answer, how often it was tried."""

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

from distill.records.types import Request
from distill.teacher.answer import Answer
from distill.teacher.budget import Bill
from distill.teacher.errors import ApiError, Fatal

GATHER_S = 0.2
"""Silence after which the questions that wait are taken to be all that come for now."""
ATTEMPTS = 6


class Question(NamedTuple):
    """A question whose asker waits, and the most it may cost, in USD."""

    request: Request
    worst: float
    answer: "asyncio.Future[Answer]"
    attempts: int = 0


class Questions:
    """Those of one run, by the key of their request. A batch may hold keys that nobody here has asked: an earlier run
    ordered them."""

    def __init__(self) -> None:
        self._waiting: dict[str, Question] = {}
        self._bills: dict[str, Bill] = {}
        self._came = asyncio.Event()

    def ask(self, key: str, request: Request, worst: float) -> "asyncio.Future[Answer]":
        """The answer that will come; the same for all who ask the same."""
        if key in self._waiting:
            return self._waiting[key].answer
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[key] = Question(request, worst, future)
        self._came.set()
        return future

    async def all_came(self) -> None:
        """Waits for questions, then until no more come."""
        while not self._waiting or self._came.is_set():
            if not self._waiting:
                await self._came.wait()
            self._came.clear()
            await asyncio.sleep(GATHER_S)

    def besides(self, ordered: set[str]) -> dict[str, Question]:
        """What waits and is not ordered."""
        return {key: question for key, question in self._waiting.items() if key not in ordered}

    def any_of(self, keys: Iterable[str]) -> bool:
        """Whether somebody waits for one of these."""
        return not self._waiting.keys().isdisjoint(keys)

    def set_aside(self, key: str, bill: Bill) -> None:
        """Notes the money for a question that is about to be ordered."""
        self._bills[key] = bill

    def refused_together(self, keys: Iterable[str]) -> None:
        """The batch of these was not begun: nothing was billed, and they still wait."""
        for key in keys:
            if key in self._bills:
                self._bills.pop(key).release(maybe_billed=False)

    def answered(self, key: str, answer: Answer) -> None:
        """Tells the asker, if there is one."""
        if key in self._bills:
            self._bills.pop(key).settle(answer["cost_usd"])
        question = self._waiting.pop(key, None)
        if question and not question.answer.done():
            question.answer.set_result(answer)

    def failed(self, key: str, error: ApiError, again: bool) -> None:
        """The question waits for another batch, if that may do better (`again`), or the asker is told."""
        if key in self._bills:
            self._bills.pop(key).release(error.maybe_billed)
        question = self._waiting.pop(key, None)
        if question is None:
            return
        if again and question.attempts + 1 < ATTEMPTS:
            self._waiting[key] = question._replace(attempts=question.attempts + 1)
        elif not question.answer.done():
            question.answer.set_exception(error)

    def give_up(self, reason: Fatal) -> None:
        """Tells all askers that the run is stopped."""
        for question in self._waiting.values():
            if not question.answer.done():
                question.answer.set_exception(Fatal(reason.kind, reason.message, reason.http_status))
        self._waiting.clear()
