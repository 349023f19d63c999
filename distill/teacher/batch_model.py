"""A model asked through OpenAI's Batch API: half the price, within 24 hours, many requests in a file.

All questions that wait at the same moment go out together. What was ordered is noted on disk before and after, so a
killed run finds its batch again, and what a batch did not get to is ordered anew, and nothing else.
"""

import asyncio
from collections.abc import Callable
from types import ModuleType
from typing import Any

import orjson

from distill.records.ids import content_id
from distill.records.terminal import say
from distill.records.types import Message, Request, Sampling, ToolSchema
from distill.teacher import background, batch_file, errors
from distill.teacher.answer import Answer
from distill.teacher.batch_endpoint import BatchEndpoint
from distill.teacher.batch_questions import Questions
from distill.teacher.batch_results import BatchResults
from distill.teacher.budget import Budget
from distill.teacher.errors import ApiError, Fatal, Transient
from distill.teacher.halt import Halt
from distill.teacher.http import Http
from distill.teacher.open_batches import Batch, OpenBatches
from distill.teacher.prices import Prices
from distill.teacher.store import Note, Store
from distill.teacher.tariff import Tariff

FULL_QUEUE_S = 300.0
PLACES = 100_000


class BatchModel:
    """Asks through `adapter` (the module chat or responses), as EndpointModel does, but in batches."""

    seeded = False
    leased = False  # the notes about open batches keep two processes from ordering the same
    places = PLACES

    def __init__(
        self,
        adapter: ModuleType,
        identity: dict[str, Any],
        connect: Callable[[], Http],
        *,
        find_prices: Callable[[], Prices | None],
        budget: Budget,
        halt: Halt,
        store: Store,
        optional: frozenset[str] = frozenset(),
    ):
        self.adapter, self.identity = adapter, identity
        self.budget, self.halt, self.store = budget, halt, store
        self._connect, self._find_prices = connect, find_prices
        self._open = OpenBatches(store, content_id(identity))
        self._http: Http | None = None
        self._tariff: Tariff
        self._results: BatchResults
        self._questions = Questions()
        self._without: frozenset[str] = frozenset()
        self._repairs = errors.repairs(optional)
        self._working: asyncio.Task[None] | None = None
        self._most = batch_file.MOST_REQUESTS

    def request(
        self,
        messages: list[Message],
        tools: list[ToolSchema],
        sampling: Sampling,
        earlier: list[Answer],
    ) -> Request:
        """The canonical request; the same as that of the other tiers, so their answers serve here, too."""
        return self.adapter.request(self.identity, messages, tools, sampling, earlier)

    async def ask(self, request: Request, note: Note | None = None) -> Answer:
        """One answer, when its batch is through. Raises ApiError."""
        assert note is not None, "a batch needs the key of its requests"
        if begun := note.read():
            raise Fatal("ordered", background.making(begun, note))
        if self._http is None:
            self._tariff = Tariff(self.identity["provider"], self._find_prices)
            self._results = BatchResults(self.adapter, self.store, self._tariff)
            self.budget.unpriced = self._tariff.prices is None
            self._http = self._connect()
            self.halt.on_stop(self._give_up)
        answer = self._questions.ask(note.key, request, self._tariff.worst(request, len(self._body(request)), "batch"))
        if self._working is None:
            self._working = asyncio.create_task(self._work(BatchEndpoint(self._http, self.adapter.PATH, self.halt)))
        return await asyncio.shield(answer)  # another rollout may wait for the same

    async def close(self) -> None:
        """Closes the connections; open batches go on at the server."""
        if self._working is not None:
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)
        if self._http is not None:
            await self._http.close()

    async def _work(self, server: BatchEndpoint) -> None:
        try:
            while True:
                await self._questions.all_came()
                async with self._open.ordering():
                    await self._adopt(server)
                    await self._order(server)
                for batch in self._open.all():
                    await self._fetch(server, batch)
        except Fatal as error:
            self.halt.stop(error)
        except ApiError as error:
            self.halt.stop(Fatal(error.kind, error.message, error.http_status))
        except Exception as error:  # a full disk, a fault of ours: nobody awaits this task
            self.halt.stop(Fatal("interrupted", f"stopped by an error: {error!r}"))
        finally:
            self._give_up()

    async def _adopt(self, server: BatchEndpoint) -> None:
        """Finds the ids of batches that a killed run ordered without living to see the answer. What it did not come to
        order waits for the budget like everything else."""
        for batch in [batch for batch in self._open.all() if batch.id is None]:
            if found := await server.find(batch):
                self._placed(batch, found)
            else:
                self._open.close(batch)
                await server.forget(batch, {})

    async def _order(self, server: BatchEndpoint) -> None:
        """Orders what waits and is not ordered, as far as the budget reaches. What another process had ordered may be
        here by now, and is not bought again."""
        ordered = {key for batch in self._open.all() for key in batch.keys}
        for key in self._questions.besides(ordered):
            if known := self.store.get(key):
                self._questions.answered(key, known)
        todo, coming = self._questions.besides(ordered), self._questions.any_of(ordered)
        if todo and not coming and not any(self.budget.fits(question.worst) for question in todo.values()):
            await self.budget.reserve(min(question.worst for question in todo.values()))  # says so
        chosen: list[tuple[str, bytes]] = []
        for key, question in todo.items():
            if self.budget.fits(question.worst):
                self._questions.set_aside(key, await self.budget.reserve(question.worst))
                chosen.append((key, self._body(question.request)))
        for file in batch_file.files(self.adapter.PATH, chosen, self._most):
            self.halt.check()
            batch = self._open.new(await server.upload(file.content), file.keys)
            self._placed(batch, await server.order(batch))

    def _placed(self, batch: Batch, known: str) -> None:
        batch.id = known
        self._open.write(batch)
        say(f"batch {batch.id}: {len(batch.keys)} requests ordered; it goes on if this run is stopped")

    async def _fetch(self, server: BatchEndpoint, batch: Batch) -> None:
        """Stores what a batch brought, once it is over; nobody waits for one that an earlier run ordered in vain."""
        wanted = self._questions.any_of(batch.keys)
        try:
            now = await server.ended(batch, wait=wanted)
        except Fatal as unknown:
            if unknown.kind != "not_found":
                raise
            if wanted:
                raise Fatal("batch_failed", self._open.lost(batch), unknown.http_status) from None
            return
        if now is None:
            return
        if now["status"] == "failed" and not now.get("output_file_id"):
            await self._failed(server, batch, now)
            return
        found = await self._stored(server, batch, now)
        if found is None:
            return
        self._open.close(batch)
        await server.forget(batch, now)
        for key in batch.keys:  # only now: the run may end as soon as the askers know
            lost = Transient("server", f"batch {batch.id} is {now['status']} without this answer")
            self._tell(key, found.get(key, lost))
        if passed := self.budget.passed():
            raise passed
        if now["status"] == "cancelled":  # by a person, at the provider: that is no reason to order it again
            raise errors.error("batch_failed", f"batch {batch.id} was cancelled; what it had answered is kept")

    async def _failed(self, server: BatchEndpoint, batch: Batch, now: dict[str, Any]) -> None:
        found = (now.get("errors") or {}).get("data") or [{}]
        self._open.close(batch)
        self._questions.refused_together(batch.keys)
        await server.forget(batch, now)
        alone = not self._open.all()
        if found[0].get("code") == "token_limit_exceeded" and (len(batch.keys) > 1 or not alone):
            if alone:
                self._most = -(-len(batch.keys) // 2)
            say(
                f"batch {batch.id}: {len(batch.keys)} requests are more than the provider's limit of tokens in line lets "
                f"in; trying again in {FULL_QUEUE_S / 60:.0f} minutes, with at most {self._most} in a batch"
            )
            await self.halt.sleep(FULL_QUEUE_S)
            return
        raise errors.error(
            "batch_failed", f"batch {batch.id} failed ({found[0].get('code')}): {found[0].get('message')}"
        )

    async def _stored(
        self, server: BatchEndpoint, batch: Batch, now: dict[str, Any]
    ) -> dict[str, Answer | ApiError] | None:
        """What a batch brought, by its keys, with every answer in the store; None of one whose files are gone and that
        nobody waits for."""
        found: dict[str, Answer | ApiError] = {}
        try:
            async for part in self._results.stored(server, now):
                found |= part
        except Fatal as gone:
            if gone.kind != "not_found":
                raise
            found |= {key: known for key in batch.keys if (known := self.store.get(key))}
            if self._open.has(batch):  # else another run that waited for it has stored what it brought
                if self._questions.any_of(set(batch.keys) - found.keys()):
                    raise Fatal("batch_failed", self._open.lost(batch), gone.http_status) from None
                return None
        return found

    def _tell(self, key: str, found: Answer | ApiError) -> None:
        """Tells the asker, if there is one here."""
        if not isinstance(found, ApiError):
            self._questions.answered(key, found)
            return
        repair = self._repairs.get(found.kind)
        self._without |= {repair} if repair else set()
        self._questions.failed(key, found, again=bool(repair) or isinstance(found, Transient))

    def _body(self, request: Request) -> bytes:
        return orjson.dumps(self.adapter.body(request, self._without))

    def _give_up(self) -> None:
        self._questions.give_up(self.halt.reason or Fatal("interrupted", "stopped"))
