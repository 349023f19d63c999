"""A model behind an API, asked with a key, within a budget, as fast as the API allows."""

import asyncio
from collections.abc import Callable
from time import perf_counter
from types import ModuleType
from typing import Any

import orjson

from distill.records.terminal import say
from distill.records.types import Message, Request, Sampling, ToolSchema
from distill.teacher import errors
from distill.teacher.answer import Answer
from distill.teacher.background import Background
from distill.teacher.budget import Budget
from distill.teacher.errors import ApiError, Fatal
from distill.teacher.halt import Halt
from distill.teacher.http import Http
from distill.teacher.prices import Prices, full_price_flex, is_openai
from distill.teacher.refusals import IN_A_ROW
from distill.teacher.retirement import shutdown_warning
from distill.teacher.retry import until_answered
from distill.teacher.store import Note
from distill.teacher.tariff import Tariff
from distill.teacher.throttle import Throttle
from distill.teacher.unread_calls import UnreadCalls

FLEX_TRIES = 3
"""Refusals of flex capacity after which `flex_or_standard` pays the standard price."""
FLEX_PAUSE_S = 300.0
"""How long it then pays that for all requests, before one asks for flex again."""
CONNECTION_TRIES = 3
"""Failures to connect, with a server that has never said a word, after which the run ends."""
USUAL_ANSWER = 500
"""Output tokens that an answer is taken to have before any was seen, for runtime.tokens_per_minute."""
BYTES_PER_TOKEN = 4


class EndpointModel:
    """Asks through `adapter` (the module chat or responses). `connect` and `find_prices` run at the first question:
    stored answers need neither key nor price. `background`: answers are polled for instead of waited for. `promised`:
    the keys that open batches will answer, with words for who asks for one of them here.
    `optional`: settings that requests go without where they are refused.
    """

    seeded = False  # few servers take `seed`, some refuse it, and OpenAI promises nothing for it
    leased = True

    def __init__(
        self,
        adapter: ModuleType,
        identity: dict[str, Any],
        connect: Callable[[], Http],
        *,
        find_prices: Callable[[], Prices | None],
        throttle: Throttle,
        budget: Budget,
        halt: Halt,
        tier: str = "standard",
        background: bool = False,
        promised: Callable[[], dict[str, str]] = dict,
        optional: frozenset[str] = frozenset(),
    ):
        self.adapter, self.identity = adapter, identity
        self.throttle, self.budget, self.halt = throttle, budget, halt
        self.tier, self.background = tier, background
        self.places = throttle.ceiling
        self._provider, self._at_openai = identity["provider"], is_openai(identity["provider"])
        self._connect, self._find_prices, self._find_promised = connect, find_prices, promised
        self._promised: dict[str, str] = {}
        self._http: Http | None = None
        self._tariff: Tariff
        self._without: frozenset[str] = frozenset()
        self._repairs = errors.repairs(optional)
        self._in_background: Background | None = None
        # OpenAI reads the calls of its models, and an answer of its that is refused here would be paid in vain.
        self._unread = None if self._at_openai else UnreadCalls(IN_A_ROW, parser="hermes, or another")
        self._answers = self._answer_tokens = 0
        self._flex_full_until = 0.0

    def request(
        self,
        messages: list[Message],
        tools: list[ToolSchema],
        sampling: Sampling,
        earlier: list[Answer],
    ) -> Request:
        """The canonical request."""
        return self.adapter.request(self.identity, messages, tools, sampling, earlier)

    async def ask(self, request: Request, note: Note | None = None) -> Answer:
        """One answer, tried again while the failure may pass. Raises ApiError."""
        if self._http is None:
            self._tariff = Tariff(self.identity["provider"], self._find_prices)
            self.budget.unpriced = self._tariff.prices is None
            self._promised = self._find_promised()
            self._http = self._connect()
            self._in_background = Background(self._http, self.adapter.PATH, self.halt) if self.background else None
            self._warning = asyncio.create_task(self._warn())
        if note and note.key in self._promised:
            raise Fatal("ordered", self._promised[note.key])
        refused = unheard = 0

        async def once() -> Answer:
            nonlocal refused, unheard
            tier = self.tier
            if tier == "flex_or_standard":
                tier = "flex" if refused < FLEX_TRIES and perf_counter() > self._flex_full_until else "standard"
            try:
                return await self._repaired(request, tier, note)
            except ApiError as error:
                refused += error.kind == "flex_busy"
                if refused == FLEX_TRIES:
                    self._flex_full_until = perf_counter() + FLEX_PAUSE_S
                unheard += error.kind == "connection"
                if unheard == CONNECTION_TRIES and self._http and not self._http.heard:
                    raise Fatal("unreachable", error.message) from None
                raise

        answer = await until_answered(once, self.halt)
        watched = self._unread if answer["finish_reason"] in ("stop", "tool_calls") else None
        if watched and (words := watched.look(answer["message"], request["tools"])):
            raise errors.error("calls_as_text", words)
        return answer

    async def close(self) -> None:
        """Closes the connections."""
        if self._http is not None:
            self._warning.cancel()
            if self._in_background:
                await self._in_background.close()
            await self._http.close()
            self._http = None

    async def _warn(self) -> None:
        assert self._http is not None
        warning = await shutdown_warning(self._http, self.identity["model"])
        if warning:
            say(f"warning: {warning}")

    async def _repaired(self, request: Request, tier: str, note: Note | None) -> Answer:
        for _ in self._repairs:
            try:
                return await self._once(request, tier, note)
            except ApiError as error:
                if error.kind not in self._repairs:
                    raise
                self._without |= {self._repairs[error.kind]}
        return await self._once(request, tier, note)

    async def _once(self, request: Request, tier: str, note: Note | None) -> Answer:
        body = self.adapter.body(request, self._without)
        if tier == "flex":
            body["service_tier"] = "flex"
        elif self._at_openai:
            body["service_tier"] = "default"  # else the project's own setting decides, and it may be a dearer one
        if self.background:
            body |= {"background": True, "store": True}  # else it is gone ten minutes after it is finished
        data = orjson.dumps(body)
        async with self.throttle.place(len(data) // BYTES_PER_TOKEN + self._usual_answer()):
            # At the standard price: a server may have no flex tier, and not say so before it has answered.
            bill = await self.budget.reserve(self._tariff.worst(request, len(data), "standard"))
            try:
                self.halt.check()
                answer = await self._sent(data, note)
            except ApiError as error:
                bill.release(error.maybe_billed)
                raise
            except BaseException:
                bill.release(maybe_billed=True)
                raise
            charged = "flex" if answer.get("tier") == "flex" and not full_price_flex(self._provider) else "standard"
            self._tariff.charge(request, answer, charged)
            bill.settle(answer["cost_usd"])
            if passed := self.budget.passed():
                self.halt.stop(passed)
        self._answers += 1
        self._answer_tokens += answer["usage"]["output_tokens"]
        return answer

    async def _sent(self, data: bytes, note: Note | None) -> Answer:
        assert self._http is not None
        started = perf_counter()
        if self._in_background:
            reply = await self._in_background.post(data, note)
        else:
            reply = await self._http.post(self.adapter.PATH, data)
        self.throttle.seen(reply.headers)
        try:
            return self.adapter.parse(reply.content, latency_ms=(perf_counter() - started) * 1000)
        except ApiError:
            if note and note.used:
                note.clear()
            raise

    def _usual_answer(self) -> int:
        return self._answer_tokens // self._answers if self._answers else USUAL_ANSWER
