"""A model asked through OpenAI's Batch API: half the price, within 24 hours, many requests in a file.

All questions that wait at the same moment go out together. What was ordered is noted on disk before and after, so a
killed run finds its batch again, and what a batch did not get to is ordered anew, and nothing else.
"""

import asyncio
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import orjson

from distill.records.ids import content_id
from distill.records.terminal import say
from distill.teacher import errors
from distill.teacher.answer import Answer
from distill.teacher.budget import Bill, Budget
from distill.teacher.errors import KINDS, ApiError, Fatal, Transient
from distill.teacher.halt import Halt
from distill.teacher.http import Http
from distill.teacher.open_batches import Batch, OpenBatches
from distill.teacher.prices import Prices
from distill.teacher.refusal import refused_in_batch
from distill.teacher.store import Note, Store

MOST_REQUESTS = 50_000
MOST_BYTES = 200_000_000
GATHER_S = 0.2
"""Silence after which the questions that wait are taken to be all that come for now."""
FIRST_POLL_S, LONGEST_POLL_S = 0.25, 60.0
ATTEMPTS = 6
FULL_QUEUE_S = 300.0
PLACES = 100_000
STORED_AT_ONCE = 1000
OVER = {"completed", "failed", "expired", "cancelled"}


class Waiting(NamedTuple):
    """A question whose asker waits: the line of the input file without its key, and the most it may cost."""

    body: bytes
    worst: float
    answer: "asyncio.Future[Answer]"
    attempts: int = 0


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
    ):
        self.adapter, self.identity = adapter, identity
        self.budget, self.halt, self.store = budget, halt, store
        self._connect, self._find_prices = connect, find_prices
        self._open = OpenBatches(store, content_id(identity))
        self._http: Http | None = None
        self._prices: Prices | None = None
        self._waiting: dict[str, Waiting] = {}
        self._bills: dict[str, Bill] = {}
        self._came = asyncio.Event()
        self._working: asyncio.Task[None] | None = None

    def request(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]],
        sampling: dict[str, Any],
        earlier: list[Answer],
    ) -> dict[str, Any]:
        """The canonical request; the same as that of the other tiers, so their answers serve here, too."""
        return self.adapter.request(self.identity, messages, tools, sampling, earlier)

    async def ask(self, request: dict[str, Any], note: Note | None = None) -> Answer:
        """One answer, when its batch is through. Raises ApiError."""
        assert note is not None, "a batch needs the key of its requests"
        if self._http is None:
            self._prices = self._find_prices()
            self.budget.unpriced = self._prices is None
            self._http = self._connect()
            self.halt.on_stop(self._give_up)
        body = orjson.dumps(self.adapter.body(request))
        longest = next(value for name, value in request["sampling"].items() if name.startswith("max_"))
        worst = self._prices.worst(len(body), longest, "batch") if self._prices else 0.0
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[note.key] = Waiting(body, worst, future)
        self._came.set()
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        return await future

    async def close(self) -> None:
        """Closes the connections; open batches go on at the server."""
        if self._working is not None:
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)
        if self._http is not None:
            await self._http.close()

    async def _work(self) -> None:
        try:
            while True:
                await self._all_came()
                async with self._open.ordering():
                    await self._adopt()
                    await self._order()
                for batch in self._open.all():
                    await self._fetch(batch, wait=not self._waiting.keys().isdisjoint(batch.keys))
        except Fatal as error:
            self.halt.stop(error)
        except ApiError as error:
            self.halt.stop(Fatal(error.kind, error.message, error.http_status))
        except Exception as error:  # a full disk, a fault of ours: nobody awaits this task
            self.halt.stop(Fatal("interrupted", f"stopped by an error: {error!r}"))
        finally:
            self._give_up()

    async def _all_came(self) -> None:
        """Waits for questions, then until no more come."""
        while not self._waiting or self._came.is_set():
            if not self._waiting:
                await self._came.wait()
            self._came.clear()
            await asyncio.sleep(GATHER_S)

    async def _adopt(self) -> None:
        """Finds the ids of batches that a killed run ordered without living to see the answer, or orders them now."""
        for batch in self._open.all():
            if batch.id is None:
                await self._place(batch, await self._found(batch))

    async def _order(self) -> None:
        """Orders what waits and is not ordered, as far as the budget reaches."""
        ordered = {key for batch in self._open.all() for key in batch.keys}
        todo = {key: waiting for key, waiting in self._waiting.items() if key not in ordered}
        if todo and not ordered and not any(self.budget.fits(waiting.worst) for waiting in todo.values()):
            await self.budget.reserve(min(waiting.worst for waiting in todo.values()))  # says so
        lines: list[bytes] = []
        keys: list[str] = []
        size = 0
        for key, waiting in todo.items():
            if not self.budget.fits(waiting.worst):
                continue
            line = b'{"custom_id":"%s","method":"POST","url":"/v1%s","body":%s}\n' % (
                key.encode(),
                self.adapter.PATH.encode(),
                waiting.body,
            )
            if lines and (len(lines) == MOST_REQUESTS or size + len(line) > MOST_BYTES):
                await self._send(lines, keys)
                lines, keys, size = [], [], 0
            self._bills[key] = await self.budget.reserve(waiting.worst)
            lines.append(line)
            keys.append(key)
            size += len(line)
        if lines:
            await self._send(lines, keys)

    async def _send(self, lines: list[bytes], keys: list[str]) -> None:
        self.halt.check()
        data = b"".join(lines)
        reply = await self._steadily(lambda: self._at.upload("/files", "batch.jsonl", data, purpose="batch"))
        await self._place(self._open.new(reply.content["id"], keys), None)

    async def _place(self, batch: Batch, known: str | None) -> None:
        if known is None:
            order = orjson.dumps(
                {
                    "input_file_id": batch.file,
                    "endpoint": f"/v1{self.adapter.PATH}",
                    "completion_window": "24h",
                    "metadata": {"distill": batch.name},
                }
            )
            known = await self._steadily(lambda: self._ordered(batch, order))
        batch.id = known
        self._open.write(batch)
        say(f"batch {batch.id}: {len(batch.keys)} requests ordered; it goes on if this run is stopped")

    async def _ordered(self, batch: Batch, order: bytes) -> str:
        """The id of a batch that is ordered now. What the server refused for a while may be ordered again; when its
        answer was lost, that is for the next run, which will find the batch if there is one by then."""
        try:
            return str((await self._at.post("/batches", order)).content["id"])
        except Transient as error:
            if error.maybe_billed:
                raise ApiError(error.kind, error.message, error.http_status) from None
            if found := await self._found(batch):
                return found
            raise

    async def _found(self, batch: Batch) -> str | None:
        """The id of a batch that was ordered before, by the name that went along; None when the server knows none."""
        after = ""
        while True:
            ask = f"/batches?limit=100{after}"
            listed = (await self._steadily(lambda ask=ask: self._at.get(ask))).content  # type: ignore[misc]
            for known in listed["data"]:
                if (known.get("metadata") or {}).get("distill") == batch.name:
                    return str(known["id"])
            if not listed.get("has_more") or not listed["data"]:
                return None
            after = f"&after={listed['data'][-1]['id']}"

    async def _fetch(self, batch: Batch, wait: bool) -> None:
        """Stores what a batch brought, once it is over; nobody waits for one that an earlier run ordered in vain."""
        pause = FIRST_POLL_S
        while (now := (await self._steadily(lambda: self._at.get(f"/batches/{batch.id}"))).content)[
            "status"
        ] not in OVER:
            if not wait:
                return
            await self.halt.sleep(pause)
            pause = min(pause * 1.5, LONGEST_POLL_S)
        if now["status"] == "failed" and not now.get("output_file_id"):
            await self._failed(batch, now)
            return
        silent = set(batch.keys)
        for name in ("output_file_id", "error_file_id"):
            if now.get(name):
                path = f"/files/{now[name]}/content"
                content = await self._steadily(lambda path=path: self._at.get_bytes(path))  # type: ignore[misc]
                lines = [orjson.loads(line) for line in content.splitlines()]
                silent.difference_update(line["custom_id"] for line in lines)
                for start in range(0, len(lines), STORED_AT_ONCE):
                    await asyncio.gather(*(self._store(line) for line in lines[start : start + STORED_AT_ONCE]))
        for key in silent:
            self._not_answered(key, Transient("server", f"batch {batch.id} is {now['status']} without this answer"))
        self._open.close(batch)
        if now["status"] == "cancelled":  # by a person, at the provider: that is no reason to order it again
            raise errors.error("batch_failed", f"batch {batch.id} was cancelled; what it had answered is kept")

    async def _failed(self, batch: Batch, now: dict[str, Any]) -> None:
        found = (now.get("errors") or {}).get("data") or [{}]
        self._open.close(batch)
        for key in batch.keys:
            if key in self._bills:
                self._bills.pop(key).release(maybe_billed=False)
        if found[0].get("code") == "token_limit_exceeded":  # too much is queued: by now, or by others
            await self.halt.sleep(FULL_QUEUE_S)
            return
        raise errors.error(
            "batch_failed", f"batch {batch.id} failed ({found[0].get('code')}): {found[0].get('message')}"
        )

    async def _store(self, line: dict[str, Any]) -> None:
        """Keeps the answer in a line of a batch's output, and tells the asker if there is one here."""
        key, response = line["custom_id"], line.get("response") or {}
        try:
            if response.get("status_code") != 200:
                raise refused_in_batch(line)
            answer = self.adapter.parse(response["body"], latency_ms=0.0)
        except ApiError as error:
            self._not_answered(key, error)
            return
        answer["tier"] = "batch"
        if self._prices:
            answer["cost_usd"] = self._prices.charged(answer["usage"], "batch")
        await self.store.keep(key, None, answer)
        if key in self._bills:
            self._bills.pop(key).settle(answer["cost_usd"])
        waiting = self._waiting.pop(key, None)
        if waiting and not waiting.answer.done():
            waiting.answer.set_result(answer)

    def _not_answered(self, key: str, error: ApiError) -> None:
        if key in self._bills:
            self._bills.pop(key).release(error.maybe_billed)
        waiting = self._waiting.pop(key, None)
        if waiting is None:
            return
        if KINDS[error.kind].fate == "retry" and waiting.attempts + 1 < ATTEMPTS:
            self._waiting[key] = waiting._replace(attempts=waiting.attempts + 1)
        elif not waiting.answer.done():
            waiting.answer.set_exception(error)

    def _give_up(self) -> None:
        reason = self.halt.reason or Fatal("interrupted", "stopped")
        for waiting in self._waiting.values():
            if not waiting.answer.done():
                waiting.answer.set_exception(Fatal(reason.kind, reason.message, reason.http_status))
        self._waiting.clear()

    @property
    def _at(self) -> Http:
        assert self._http is not None
        return self._http

    async def _steadily(self, ask: Callable[[], Any]) -> Any:
        """The answer to a question that costs nothing and may be asked as often as it takes."""
        pause = FIRST_POLL_S
        for _ in range(ATTEMPTS - 1):
            try:
                return await ask()
            except Transient as error:
                await self.halt.sleep(error.retry_after_s or pause)
                pause = min(pause * 2, LONGEST_POLL_S)
        return await ask()
