"""The teacher: a model whose every answer is kept, so that it is asked only what it has not answered before."""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any, cast

from distill.records.types import Message, Request, Sampling, ToolSchema
from distill.teacher import request as requests
from distill.teacher.answer import Answer
from distill.teacher.errors import KINDS, ApiError, Fatal, Transient, is_final
from distill.teacher.halt import Halt
from distill.teacher.provider import StoredModel
from distill.teacher.refusals import Refusals
from distill.teacher.store import Store, request_key, stored_failure


class Teacher:
    """Answers from the store when it can, else from the model; counts what was bought in this run."""

    def __init__(
        self,
        model: StoredModel,
        store: Store,
        sampling: Sampling,
        shown: list[Message],
        halt: Halt | None = None,
    ):
        self.model, self.store, self.sampling, self.shown = model, store, sampling, shown
        self.halt = halt or Halt()
        self.bought = 0
        self.bought_tokens = 0
        self._refusals = Refusals()
        self._asking = 0
        self._idle = asyncio.Event()

    async def idle(self) -> None:
        """Returns when no question is at the model and no answer on its way to the disk."""
        while self._asking:
            self._idle.clear()
            await self._idle.wait()

    async def close(self) -> None:
        """Ends the model and the store's own process."""
        await self.model.close()
        await self.store.close()

    def request(self, messages: list[Message], tools: list[ToolSchema], seed: int, earlier: list[Answer]) -> Request:
        """The canonical request for the next answer; `earlier`: the answers behind the last assistant messages."""
        sampling = self.sampling | ({"seed": seed} if self.model.seeded else {})
        return self.model.request(requests.with_demonstrations(messages, self.shown), tools, sampling, earlier)

    def stored(self, request: Request, sample: int) -> dict[str, Any] | None:
        """The store's entry for a request, None when there is none or when it is a failure that is worth another try."""
        entry = self.store.entry(request_key(request, sample))
        return entry if "answer" in entry or _refused_for_good(entry) else None

    async def ask(
        self,
        messages: list[Message],
        tools: list[ToolSchema],
        *,
        seed: int,
        sample: int,
        earlier: list[Answer],
        meanwhile: Callable[[], None] = lambda: None,
    ) -> tuple[str, Answer]:
        """The key of the answer and the answer. It is durable before it is returned. `meanwhile` is called before the
        model is, if it is: it begins what will be needed after the answer.

        Raises ApiError with the key as `request`; a request that was refused for good is not sent again.
        """
        request = self.request(messages, tools, seed, earlier)
        key = request_key(request, sample)
        try:
            known = _known(self.store.entry(key))
            if known is None:
                meanwhile()
            else:
                self._refusals.known = True
            return key, known or await self._buy(key, request)
        except ApiError as error:
            error.request = key
            raise

    async def _buy(self, key: str, request: Request) -> Answer:
        self.halt.check()
        if not self.model.leased:
            return await self._bought(key, request)
        async with self.store.lease(key):
            # Another process may have bought it while we waited.
            return _known(self.store.entry(key)) or await self._bought(key, request)

    async def _bought(self, key: str, request: Request) -> Answer:
        self.store.check_room()
        self._asking += 1
        asked_at = perf_counter()
        note = self.store.note(key)
        try:
            answer = await self.model.ask(request, note)
            await self.store.keep(key, request, answer)
            if note.used:
                note.clear()
        except Fatal as error:
            failure = stored_failure(self.store.entry(key))
            if failure and _stays_failed(failure, error):
                raise failure from None
            raise
        except ApiError as error:
            raise self._remembered(key, error) from None
        finally:
            self._asking -= 1
            self._idle.set()
        self._refusals.answer(asked_at)
        self.bought += 1
        self.bought_tokens += answer["usage"]["output_tokens"]
        return answer

    def _remembered(self, key: str, error: ApiError) -> ApiError:
        """The error that a failure comes to; in the store if it is about this conversation."""
        if isinstance(error, Transient):
            again = stored_failure(self.store.entry(key)) is not None
            self.store.put_failure(key, error)
            return self._refusals.lost(error, again)
        if self.model.leased:  # a batch brings all its refusals at once, after its answers
            error = self._refusals.weighed(key, error)
        if isinstance(error, Fatal):
            for refused in self._refusals.doubtful:
                self.store.forget(refused)
        else:
            self.store.put_failure(key, error)
        return error


def _stays_failed(failure: ApiError, error: Fatal) -> bool:
    """Whether what failed last time stays failed: without a key, or where the server is gone that refused it."""
    return error.kind == "no_key" or (error.kind == "unreachable" and KINDS[failure.kind].fate == "fail")


def _known(entry: dict[str, Any]) -> Answer | None:
    """The answer of a store's entry. Raises the error that it remembers, unless another try may do better."""
    failure = _refused_for_good(entry)
    if failure:
        raise failure
    return cast("Answer | None", entry.get("answer"))


def _refused_for_good(entry: dict[str, Any]) -> ApiError | None:
    failure = stored_failure(entry)
    return failure if failure and is_final(failure.kind) else None
