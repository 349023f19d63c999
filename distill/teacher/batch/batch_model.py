"""A model that is asked through OpenAI's Batch API: half the price, answers within 24 hours, many requests in a file.

All requests that wait at the same moment go into one batch. Each batch is noted on disk before and after it is created, so
a run that was killed finds it again. Requests that a batch ended without answering go into a new one.
"""

import asyncio
from typing import Any

import orjson

from distill.project.terminal import say
from distill.records.types import Request
from distill.teacher import errors
from distill.teacher.answer import Answer
from distill.teacher.api import background, provider
from distill.teacher.api.error_response import BY_CODE, error_in_batch_line
from distill.teacher.api.failure_streak import FailureStreak
from distill.teacher.api.http import Http
from distill.teacher.asked import Asked
from distill.teacher.batch import batch_endpoint
from distill.teacher.batch.batch_endpoint import BatchEndpoint
from distill.teacher.batch.batch_queue import BatchQueue
from distill.teacher.batch.open_batches import Batch, OpenBatches
from distill.teacher.cost.budget import Budget
from distill.teacher.cost.tariff import Tariff
from distill.teacher.errors import ApiError, Fatal, Transient
from distill.teacher.halt import Halt
from distill.teacher.store import Note, Store

QUEUE_FULL_WAIT_S = 300.0
"""Pause before another try when the provider's limit of enqueued tokens is reached."""
ELSEWHERE_WAIT_S = 2.0
"""Pause before another look for the answers to what another process is asking."""
MAX_CONCURRENT = 100_000
"""Conversations at the same time: as many as there may be, since each waits for the same few batches."""


class BatchModel:
    """Asks an API as EndpointModel does, but in batches."""

    takes_seed = False
    needs_lease = False  # held here while a batch is created; then its note keeps others from sending the same request
    max_concurrent = MAX_CONCURRENT

    def __init__(self, asked: Asked, halt: Halt, store: Store):
        self._asked, self.identity = asked, provider.identity(asked)
        self.api = provider.APIS[self.identity["api"]]
        self.budget, self.halt, self.store = Budget(asked.runtime["budget_usd"]), halt, store
        self._open_batches = OpenBatches(store, self.identity)
        self._http: Http | None = None
        self._tariff: Tariff
        self._queue = BatchQueue()
        self._failures = FailureStreak()
        self._without: frozenset[str] = frozenset()
        self._repairs = errors.repairs(asked.temperature_optional)
        self._worker: asyncio.Task[None] | None = None
        self._max_requests = batch_endpoint.MOST_REQUESTS

    async def ask(self, request: Request, note: Note) -> Answer:
        """One answer, once its batch has ended. Raises ApiError."""
        if self._http is None:
            self._tariff = provider.tariff(self._asked)
            self.budget.unpriced = self._tariff.prices is None
            self._http = provider.connect(self._asked)
            self.halt.on_stop(self._fail_queue)
        max_cost = self._tariff.max_cost(request, len(self._body(request)), "batch")
        answer = self._queue.add(note.key, request, max_cost)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work(BatchEndpoint(self._http, self.api.PATH, self.halt)))
        return await asyncio.shield(answer)  # another rollout may wait for the same

    async def close(self) -> None:
        """Closes the connections; open batches go on at the server."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        if self._http is not None:
            await self._http.close()

    async def _work(self, server: BatchEndpoint) -> None:
        """Creates batches of what is queued and collects their results, until it is cancelled or the run must stop."""
        try:
            while True:
                await self._queue.wait_until_quiet()
                async with self._open_batches.lease():
                    await self._recover_ids(server)
                    asked_elsewhere = await self._create_batches(server)
                for batch in self._open_batches.all():
                    await self._collect(server, batch)
                if asked_elsewhere:
                    await self.halt.sleep(ELSEWHERE_WAIT_S)
        except Fatal as error:
            self.halt.stop(error)
        except ApiError as error:
            self.halt.stop(Fatal(error.kind, error.message, error.http_status))
        except Exception as error:  # a full disk, a bug of ours: nobody awaits this task
            self.halt.stop(Fatal("interrupted", f"stopped by an error: {error!r}"))
        finally:
            self._fail_queue()

    async def _recover_ids(self, server: BatchEndpoint) -> None:
        """Finds the ids of batches whose creation a killed run did not see confirmed. Those that the server does not have
        are forgotten: their requests go into a new batch, within the budget like all others."""
        for batch in [batch for batch in self._open_batches.all() if batch.id is None]:
            if batch_id := await server.find_unconfirmed(batch, self._open_batches.age_s(batch)):
                self._record_id(batch, batch_id)
            else:
                self._open_batches.remove(batch)
                await server.delete_files(batch, {})

    async def _create_batches(self, server: BatchEndpoint) -> bool:
        """Creates batches of the queued requests that are in none yet, as far as the budget reaches. Returns whether there are
        others that some other process is asking at this moment: their answers are waited for, not bought here as well."""
        ordered = self._open_batches.keys()
        unordered = self._queue.except_for(ordered).keys()
        with self.store.leases(unordered) as ours:  # until they are noted in a batch
            for key in ours:
                if stored_answer := self.store.get(key):  # of another process
                    self._queue.resolve(key, stored_answer)
                elif response_id := (note := self.store.note(key)).read():
                    raise Fatal("ordered", background.ordered_message(response_id, note))
            elsewhere = unordered - ours
            chosen = await self._queue.reserve(self.budget, ordered | elsewhere)
            bodies = ((key, self._body(request)) for key, request in chosen)
            for file, keys in batch_endpoint.input_files(self.api.PATH, bodies, self._max_requests):
                self.halt.check()
                batch = self._open_batches.add(await server.upload(file), keys)
                self._record_id(batch, await server.create(batch))
        return bool(elsewhere)

    def _record_id(self, batch: Batch, batch_id: str) -> None:
        batch.id = batch_id
        self._open_batches.write(batch)
        say(f"batch {batch.id}: {len(batch.keys)} requests ordered; it goes on if this run is stopped")

    async def _collect(self, server: BatchEndpoint, batch: Batch) -> None:
        """Stores the results of a batch that has ended. Waits for its end only if one of its requests is queued here."""
        queued = self._queue.has_any(batch.keys)
        try:
            batch_status = await server.ended(batch, wait=queued)
        except Fatal as error:
            if error.kind != "not_found":
                raise
            if queued:
                raise Fatal("batch_failed", self._open_batches.lost_message(batch), error.http_status) from None
            return
        if batch_status is None:
            return
        status = batch_status["status"]
        if status == "failed" and not batch_status.get("output_file_id"):
            await self._handle_rejected(server, batch, batch_status)
            return
        results = await self._store_results(server, batch, batch_status)
        if results is None:
            return
        self._open_batches.remove(batch)
        await server.delete_files(batch, batch_status)
        for key in batch.keys:  # only now: the run may end as soon as the answers are given out
            missing = f"batch {batch.id} is {status} without this answer"
            unanswered = Transient("server", missing, maybe_billed=status == "completed")
            self._end_request(key, results.get(key, unanswered))
        if overspent := self.budget.overspent():
            raise overspent
        # By a person, at the provider: that is no reason to order it again.
        if queued and status == "cancelled":
            raise errors.error("batch_failed", f"batch {batch.id} was cancelled; what it had answered is kept")

    async def _handle_rejected(self, server: BatchEndpoint, batch: Batch, batch_status: dict[str, Any]) -> None:
        """Forgets a batch that the provider refused to begin. If one of its requests is queued here, waits where it had too
        many tokens for the provider's queue, and raises ApiError for any other reason. If no other batch is in that queue,
        the next ones are half as large."""
        error = ((batch_status.get("errors") or {}).get("data") or [{}])[0]
        self._open_batches.remove(batch)
        self._queue.release_reservations(batch.keys)
        await server.delete_files(batch, batch_status)
        if not self._queue.has_any(batch.keys):
            return
        alone = not self._open_batches.all()
        if error.get("code") == "token_limit_exceeded" and (len(batch.keys) > 1 or not alone):
            if alone:
                self._max_requests = -(-len(batch.keys) // 2)
            say(
                f"batch {batch.id}: {len(batch.keys)} requests are more than the provider's limit of tokens in line lets "
                f"in; trying again in {QUEUE_FULL_WAIT_S / 60:.0f} minutes, with at most {self._max_requests} in a batch"
            )
            await self.halt.sleep(QUEUE_FULL_WAIT_S)
            return
        kind = "quota" if BY_CODE.get(str(error.get("code"))) == "quota" else "batch_failed"
        raise errors.error(kind, f"batch {batch.id} failed ({error.get('code')}): {error.get('message')}")

    async def _store_results(
        self, server: BatchEndpoint, batch: Batch, batch_status: dict[str, Any]
    ) -> dict[str, Answer | ApiError] | None:
        """The results of a batch by key, after its answers are stored; None if its files are gone and nobody here needs
        them. Raises Fatal if they are gone and needed."""
        results: dict[str, Answer | ApiError] = {}
        ordered = set(batch.keys)
        try:
            async for all_lines in server.results(batch_status):
                lines = [line for line in all_lines if line["custom_id"] in ordered]
                stored = await asyncio.gather(*map(self._parse_and_store, lines))
                results |= {line["custom_id"]: result for line, result in zip(lines, stored, strict=True)}
        except Fatal as error:
            if error.kind != "not_found":
                raise
            results |= {key: answer for key in batch.keys if (answer := self.store.get(key))}
            if self._open_batches.has(batch):  # else another run has stored the results and deleted the files
                if self._queue.has_any(set(batch.keys) - results.keys()):
                    raise Fatal("batch_failed", self._open_batches.lost_message(batch), error.http_status) from None
                return None
        return results

    async def _parse_and_store(self, line: dict[str, Any]) -> Answer | ApiError:
        response = line.get("response") or {}
        try:
            if response.get("status_code") != 200:
                raise error_in_batch_line(line)
            answer: Answer = self.api.parse(response.get("body"), latency_ms=0.0)
        except ApiError as error:
            return error
        self._failures.has_answered = True
        answer["tier"] = "batch"
        self._tariff.set_cost(None, answer, "batch")
        await self.store.keep(line["custom_id"], answer)
        return answer

    def _end_request(self, key: str, result: Answer | ApiError) -> None:
        """Gives out an answer or an error, or queues the request again where another batch may do better."""
        if not isinstance(result, ApiError):
            self._queue.resolve(key, result)
            return
        repair = self._repairs.get(result.kind)
        self._without |= {repair} if repair else set()
        retry = bool(repair) or isinstance(result, Transient)
        if result.kind == "bad_request" and not self._failures.has_answered:  # not by any line of the same batch either
            result = self._failures.count_refusal(key, result)
        self._queue.fail(key, result, retry)

    def _body(self, request: Request) -> bytes:
        return orjson.dumps(self.api.body(request, self._without))

    def _fail_queue(self) -> None:
        self._queue.fail_all(self.halt.reason or Fatal("interrupted", "stopped"))
