"""The teacher: a model whose every answer is stored, so that no request is sent that has a stored answer."""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any, cast

from distill.records.types import Message, Request, Sampling, ToolSchema
from distill.teacher.answer import Answer
from distill.teacher.api.failure_streak import FailureStreak
from distill.teacher.batch.open_batches import OpenBatches
from distill.teacher.demonstrations import with_demonstrations
from distill.teacher.errors import KINDS, ApiError, Fatal, Transient, is_final
from distill.teacher.halt import Halt
from distill.teacher.model import StoredModel
from distill.teacher.store import Store, request_key, stored_failure


class Teacher:
    """Answers from the store when it can, else from the model. `bought` and `bought_tokens` count the latter."""

    def __init__(self, model: StoredModel, store: Store, sampling: Sampling, demonstrations: list[Message], halt: Halt):
        self.model, self.store, self.sampling, self.demonstrations = model, store, sampling, demonstrations
        self.halt = halt
        self.bought = 0
        self.bought_tokens = 0
        self.open_batches = OpenBatches(store, model.identity)
        self._failures = FailureStreak()
        self._in_flight = 0
        self._request_ended = asyncio.Event()

    async def idle(self) -> None:
        """Returns when no request is at the model and no answer on its way to the disk."""
        while self._in_flight:
            self._request_ended.clear()
            await self._request_ended.wait()

    async def close(self) -> None:
        """Closes the model and the store's writer process."""
        await self.model.close()
        await self.store.close()

    def request(self, messages: list[Message], tools: list[ToolSchema], seed: int, earlier: list[Answer]) -> Request:
        """The canonical request for the next answer; `earlier`: the answers behind the last assistant messages."""
        sampling = self.sampling | ({"seed": seed} if self.model.takes_seed else {})
        shown = with_demonstrations(messages, self.demonstrations)
        return cast(Request, self.model.api.request(self.model.identity, shown, tools, sampling, earlier))

    def is_settled(self, request: Request, sample: int) -> bool:
        """Whether the store has the answer to a request, or a failure that no other attempt gets past."""
        entry = self.store.entry(request_key(request, sample))
        return "answer" in entry or _final_failure(entry) is not None

    async def ask(
        self,
        messages: list[Message],
        tools: list[ToolSchema],
        *,
        seed: int,
        sample: int,
        earlier: list[Answer],
        before_sending: Callable[[], None] = lambda: None,
    ) -> tuple[str, Answer]:
        """The key of the answer, and the answer, which is durable by then.

        `before_sending` is called unless the answer is stored: it can begin to prepare what is needed after the answer.
        Raises ApiError with the key as `request`; a request that was refused for good is not sent again.
        """
        request = self.request(messages, tools, seed, earlier)
        key = request_key(request, sample)
        try:
            stored_answer = _stored_answer(self.store.entry(key))
            if stored_answer is None:
                before_sending()
            else:
                self._failures.has_stored_answers = True
            return key, stored_answer or await self._ask_under_lease(key, request)
        except ApiError as error:
            error.request = key
            raise

    async def _ask_under_lease(self, key: str, request: Request) -> Answer:
        self.halt.check()
        if not self.model.needs_lease:
            return await self._ask_model_and_store(key, request)
        async with self.store.lease(key):
            ordered = self.open_batches.ordered_message(key)
            # Another process may have stored it while we waited.
            stored_answer = _stored_answer(self.store.entry(key))
            if ordered and not stored_answer:
                raise Fatal("ordered", ordered)
            return stored_answer or await self._ask_model_and_store(key, request)

    async def _ask_model_and_store(self, key: str, request: Request) -> Answer:
        self.store.check_free_space()
        self._in_flight += 1
        sent_at = perf_counter()
        note = self.store.note(key)
        try:
            answer = await self.model.ask(request, note)
            await self.store.keep(key, answer)
            if note.used:
                note.clear()
        except ApiError as refusal:
            failure = stored_failure(self.store.entry(key))
            if failure and _still_holds(failure, refusal):
                raise failure from None
            # A run that is stopped gives its reason for requests that were never sent.
            error = refusal if self.halt.reason else self._failures.of_conversation(key, refusal)
            if isinstance(error, Fatal):
                raise
            raise self._store_failure(key, error) from None
        finally:
            self._in_flight -= 1
            self._request_ended.set()
        self._failures.end(sent_at)
        self.bought += 1
        self.bought_tokens += answer["usage"]["output_tokens"]
        return answer

    def forbidden(self) -> ApiError | None:
        """The error of a run in which some conversations were forbidden and none was answered, which are not stored then: the
        answers in the store do not show that today's key may use the model."""
        if self._failures.has_answered or not self._failures.forbidden:
            return None
        for key in self._failures.forbidden:
            self.store.forget(key)
        return next(iter(self._failures.forbidden.values()))

    def _store_failure(self, key: str, error: ApiError) -> ApiError:
        """The error to raise for a failure, which is stored unless it is Fatal. A Fatal refusal shows that the server was
        at fault, so the refusals before it are forgotten."""
        if isinstance(error, Transient):
            failed_before = stored_failure(self.store.entry(key)) is not None
            self.store.put_failure(key, error)
            return self._failures.count_exhausted(error, failed_before)
        if self.model.needs_lease:  # a batch gives all refusals at once, so its model counts them
            error = self._failures.count_refusal(key, error)
        if isinstance(error, Fatal):
            for refused in self._failures.unconfirmed:
                self.store.forget(refused)
        else:
            self.store.put_failure(key, error)
        return error


def _still_holds(failure: ApiError, error: ApiError) -> bool:
    """Whether a stored failure is what the rollout ends with, since `error` keeps us from asking again: no key is set, the
    server that refused the request is gone, or it blocks it as before."""
    return (
        error.kind == "no_key"
        or (error.kind == "unreachable" and KINDS[failure.kind].fate == "fail")
        or (error.kind == "forbidden" and failure.kind == "blocked")
    )


def _stored_answer(entry: dict[str, Any]) -> Answer | None:
    """The answer of a store's entry, if any. Raises the stored error, unless another attempt may get past it."""
    failure = _final_failure(entry)
    if failure:
        raise failure
    return cast("Answer | None", entry.get("answer"))


def _final_failure(entry: dict[str, Any]) -> ApiError | None:
    failure = stored_failure(entry)
    return failure if failure and is_final(failure.kind) else None
