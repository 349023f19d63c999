"""A model behind an API: requests are sent with a key, within a budget, as fast as the API allows."""

import asyncio
from collections import Counter
from time import perf_counter
from typing import Any

import orjson

from distill.records.types import Request
from distill.teacher import errors
from distill.teacher.answer import Answer
from distill.teacher.api import provider
from distill.teacher.api.background import Background
from distill.teacher.api.failure_streak import REFUSALS_IN_A_ROW
from distill.teacher.api.http import Http
from distill.teacher.api.retirement import warn_of_shutdown
from distill.teacher.api.retry import until_answered
from distill.teacher.api.throttle import Throttle
from distill.teacher.api.unread_calls import UnreadCalls
from distill.teacher.asked import Asked
from distill.teacher.cost.budget import Budget
from distill.teacher.cost.prices import full_price_flex, is_openai
from distill.teacher.cost.tariff import Tariff
from distill.teacher.errors import ApiError, Fatal
from distill.teacher.halt import Halt
from distill.teacher.store import Note

FLEX_TRIES = 3
"""Refusals for lack of flex capacity after which `flex_or_standard` sends a request at the standard price."""
FLEX_PAUSE_S = 300.0
"""How long it then sends all requests at the standard price, before one tries flex again."""
CONNECTION_TRIES = 3
"""Failures to connect to a server that has never responded, after which the run ends."""
ASSUMED_ANSWER_TOKENS = 500
"""Output tokens that a request is counted with before any answer has come, for runtime.tokens_per_minute."""
BYTES_PER_TOKEN = 4
"""An estimate for English text and JSON."""


class EndpointModel:
    """Asks an API, which is contacted at the first request: stored answers need neither key nor price."""

    takes_seed = False  # few servers take `seed`, some refuse it, and OpenAI promises nothing for it
    needs_lease = True

    def __init__(self, asked: Asked, throttle: Throttle, halt: Halt):
        self._asked, self.identity = asked, provider.identity(asked)
        self.api = provider.APIS[self.identity["api"]]
        self.throttle, self.budget, self.halt = throttle, Budget(asked.runtime["budget_usd"]), halt
        self.max_concurrent = throttle.ceiling
        self._at_openai = is_openai(self.identity["provider"])
        self._http: Http | None = None
        self._tariff: Tariff
        self._without: frozenset[str] = frozenset()
        self._repairs = errors.repairs(asked.temperature_optional)
        self._in_background: Background | None = None
        # Not at OpenAI, which parses the calls of its models: an answer that is refused here would be paid in vain.
        self._unread = None if self._at_openai else UnreadCalls(REFUSALS_IN_A_ROW, parser="hermes, or another")
        self._answers = self._answer_tokens = 0
        self._flex_full_until = 0.0

    async def ask(self, request: Request, note: Note) -> Answer:
        """One answer; failures that may pass are retried. Raises ApiError."""
        if self._http is None:
            self._http = self._start()
        failures: Counter[str] = Counter()

        async def attempt() -> Answer:
            try:
                return await self._ask_with_repairs(request, self._tier_after(failures), note)
            except ApiError as error:
                failures[error.kind] += 1
                if failures["flex_busy"] == FLEX_TRIES:
                    self._flex_full_until = perf_counter() + FLEX_PAUSE_S
                if failures["connection"] == CONNECTION_TRIES and self._http and not self._http.has_responded:
                    raise Fatal("unreachable", error.message) from None
                raise

        answer = await until_answered(attempt, self.halt)
        answer["attempts"] = failures.total() + 1
        if self._unread and answer["finish_reason"] in ("stop", "tool_calls"):
            problem = self._unread.check(answer["message"], request["tools"])
            if problem:
                raise errors.error("calls_as_text", problem)
        return answer

    async def close(self) -> None:
        """Closes the connections."""
        if self._http is not None:
            self._warning.cancel()
            if self._in_background:
                await self._in_background.close()
            await self._http.close()
            self._http = None

    def _start(self) -> Http:
        """Finds the prices, and connects. Raises Fatal."""
        self._tariff = provider.tariff(self._asked)
        self.budget.unpriced = self._tariff.prices is None
        http = provider.connect(self._asked)
        if provider.in_background(self._asked):
            self._in_background = Background(http, self.api.PATH, self.halt)
        self._warning = asyncio.create_task(warn_of_shutdown(http, self.identity["model"]))
        return http

    def _tier_after(self, failures: Counter[str]) -> str:
        """The service tier for the next attempt at a request that has failed so far as `failures` counts."""
        tier: str = self._asked.runtime["tier"]
        if tier != "flex_or_standard":
            return tier
        try_flex = failures["flex_busy"] < FLEX_TRIES and perf_counter() > self._flex_full_until
        return "flex" if try_flex else "standard"

    async def _ask_with_repairs(self, request: Request, tier: str, note: Note) -> Answer:
        """One answer; a request with an extra that the server refuses is sent again without it, as all later ones are."""
        for _ in self._repairs:
            try:
                return await self._ask_within_limits(request, tier, note)
            except ApiError as error:
                if error.kind not in self._repairs:
                    raise
                self._without |= {self._repairs[error.kind]}
        return await self._ask_within_limits(request, tier, note)

    async def _ask_within_limits(self, request: Request, tier: str, note: Note) -> Answer:
        """Sends a request once, when the throttle has a slot for it and the budget has room."""
        data = orjson.dumps(self._body(request, tier))
        async with self.throttle.slot(len(data) // BYTES_PER_TOKEN + self._expected_answer_tokens()):
            # At the standard price: a server may have no flex tier, and not say so before it has answered.
            reservation = await self.budget.reserve(self._tariff.max_cost(request, len(data), "standard"))
            try:
                self.halt.check()
                answer = await self._send(data, note)
            except ApiError as error:
                reservation.release(error.maybe_billed)
                raise
            except BaseException:
                reservation.release(maybe_billed=True)
                raise
            half_price = answer.get("tier") == "flex" and not full_price_flex(self.identity["provider"])
            self._tariff.set_cost(request, answer, "flex" if half_price else "standard")
            reservation.settle(answer["cost_usd"])
            if overspent := self.budget.overspent():
                self.halt.stop(overspent)
        self._answers += 1
        self._answer_tokens += answer["usage"]["output_tokens"]
        return answer

    def _body(self, request: Request, tier: str) -> dict[str, Any]:
        body = self.api.body(request, self._without)
        if tier == "flex":
            body["service_tier"] = "flex"
        elif self._at_openai:
            body["service_tier"] = "default"  # else the project's own setting decides, and it may be a dearer one
        if self._in_background:
            body |= {"background": True, "store": True}  # else it is deleted ten minutes after it is finished
        return body

    async def _send(self, data: bytes, note: Note) -> Answer:
        assert self._http is not None
        started = perf_counter()
        if self._in_background:
            reply = await self._in_background.post(data, note)
        else:
            reply = await self._http.post(self.api.PATH, data)
        self.throttle.read_headers(reply.headers)
        try:
            return self.api.parse(reply.content, latency_ms=(perf_counter() - started) * 1000)
        except ApiError:
            if note.used:
                note.clear()
            raise

    def _expected_answer_tokens(self) -> int:
        return self._answer_tokens // self._answers if self._answers else ASSUMED_ANSWER_TOKENS
