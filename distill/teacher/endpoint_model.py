"""A model behind an API, asked with a key, within a budget, as fast as the API allows."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter
from types import ModuleType
from typing import Any

import orjson

from distill.records.terminal import say
from distill.teacher import errors, responses
from distill.teacher.answer import Answer
from distill.teacher.budget import Budget
from distill.teacher.errors import REPAIRS, ApiError, Fatal, Repairable, Transient
from distill.teacher.halt import Halt
from distill.teacher.http import Http, Reply
from distill.teacher.prices import Prices, full_price_flex, is_openai
from distill.teacher.retry import until_answered
from distill.teacher.shutdown import shutdown_warning
from distill.teacher.store import Note
from distill.teacher.throttle import Throttle

REFUSALS = 10
"""Conversations refused by a server that has answered none, after which the run ends."""
FLEX_TRIES = 3
"""Refusals of flex capacity after which `flex_or_standard` pays the standard price."""
FLEX_PAUSE_S = 300.0
"""How long it then pays that for all requests, before one asks for flex again."""
CONNECTION_TRIES = 3
"""Failures to connect, with a server that has never said a word, after which the run ends."""
USUAL_ANSWER = 500
"""Output tokens that an answer is taken to have before any was seen, for runtime.tokens_per_minute."""
BYTES_PER_TOKEN = 4
FIRST_POLL_S, LONGEST_POLL_S = 0.2, 10.0
LONGEST_ANSWER_S = 6 * 3600.0
"""An answer in the making that takes longer is left to a later run."""
KEPT_S = 29 * 86400.0
"""OpenAI drops finished answers after 30 days."""
FORGET_S = 10.0
POLL_FAILURES = 20
"""Failed looks at an answer in the making after which the rollout gives up; the note lets a later run look again."""


class EndpointModel:
    """Asks through `adapter` (the module chat or responses). `connect` and `find_prices` run at the first question:
    stored answers need neither key nor price. `background`: answers are polled for instead of waited for. `promised`:
    the keys that open batches will answer, with words for who asks for one of them here.
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
    ):
        self.adapter, self.identity = adapter, identity
        self.throttle, self.budget, self.halt = throttle, budget, halt
        self.tier, self.background = tier, background
        self.places = throttle.ceiling
        self._provider, self._at_openai = identity["provider"], is_openai(identity["provider"])
        self._connect, self._find_prices, self._find_promised = connect, find_prices, promised
        self._promised: dict[str, str] = {}
        self._http: Http | None = None
        self._prices: Prices | None = None
        self._without: frozenset[str] = frozenset()
        self._forgetting: set[asyncio.Task[None]] = set()
        self._answers = self._answer_tokens = self._refusals = 0
        self._flex_full_until = 0.0

    def request(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]],
        sampling: dict[str, Any],
        earlier: list[Answer],
    ) -> dict[str, Any]:
        """The canonical request."""
        return self.adapter.request(self.identity, messages, tools, sampling, earlier)

    async def ask(self, request: dict[str, Any], note: Note | None = None) -> Answer:
        """One answer, tried again while the failure may pass. Raises ApiError."""
        if self._http is None:
            self._prices = self._find_prices()
            self.budget.unpriced = self._prices is None
            self._promised = self._find_promised()
            self._http = self._connect()
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

        try:
            return await until_answered(once, self.halt)
        except ApiError as error:
            if error.kind != "bad_request" or self._answers:
                raise
            raise self._all_refused(error) from None

    async def close(self) -> None:
        """Closes the connections."""
        if self._http is not None:
            self._warning.cancel()
            if self._forgetting:
                await asyncio.wait(self._forgetting, timeout=FORGET_S)
            await self._http.close()
            self._http = None

    def _all_refused(self, error: ApiError) -> ApiError:
        """While a server has refused every request, the fault may be its own: no refusal is final yet."""
        self._refusals += 1
        kind = "parameter_refused" if self._refusals >= REFUSALS else "all_refused"
        return errors.error(kind, error.message, http_status=error.http_status)

    async def _warn(self) -> None:
        assert self._http is not None
        warning = await shutdown_warning(self._http, self.identity["model"])
        if warning:
            say(f"warning: {warning}")

    async def _repaired(self, request: dict[str, Any], tier: str, note: Note | None) -> Answer:
        for _ in REPAIRS:
            try:
                return await self._once(request, tier, note)
            except Repairable as error:
                self._without |= {REPAIRS[error.kind]}
        return await self._once(request, tier, note)

    async def _once(self, request: dict[str, Any], tier: str, note: Note | None) -> Answer:
        body = self.adapter.body(request, self._without)
        if tier == "flex":
            body["service_tier"] = "flex"
        elif self._at_openai:
            body["service_tier"] = "default"  # else the project's own setting decides, and it may be a dearer one
        if self.background:
            body |= {"background": True, "store": True}  # else it is gone ten minutes after it is finished
        data = orjson.dumps(body)
        async with self.throttle.place(len(data) // BYTES_PER_TOKEN + self._usual_answer()):
            # No text has more tokens than bytes, and the body holds all of the conversation.
            bill = await self.budget.reserve(self._worst(len(data), request))
            try:
                self.halt.check()
                answer = await self._sent(data, note)
            except ApiError as error:
                bill.release(error.maybe_billed)
                raise
            except BaseException:
                bill.release(maybe_billed=True)
                raise
            if self._prices:
                charged = "flex" if answer.get("tier") == "flex" and not full_price_flex(self._provider) else "standard"
                answer["cost_usd"] = self._prices.charged(answer["usage"], charged)
            bill.settle(answer["cost_usd"])
        self._answers += 1
        self._answer_tokens += answer["usage"]["output_tokens"]
        return answer

    async def _sent(self, data: bytes, note: Note | None) -> Answer:
        assert self._http is not None
        started = perf_counter()
        reply = await self._polled(data, note) if self.background else await self._http.post(self.adapter.PATH, data)
        self.throttle.seen(reply.headers)
        try:
            return self.adapter.parse(reply.content, latency_ms=(perf_counter() - started) * 1000)
        except ApiError:
            if note and note.used:
                note.clear()
            raise

    async def _polled(self, data: bytes, note: Note | None) -> Reply:
        """The finished response of a request in background mode; one that an earlier run began is not begun again.

        The note stays until the answer is stored; then the server may forget it.
        """
        assert self._http is not None
        begun = note.read() if note else None
        reply, ours = Reply({"status": "queued"}, {}), begun is None
        if begun is None:
            reply = _begun(await self._http.post(self.adapter.PATH, data))
            begun = str(reply.content["id"])
            if note:
                note.write(begun)
        if note:
            note.on_clear = lambda: self._forget(begun)
        pause, failures, over = FIRST_POLL_S, 0, perf_counter() + LONGEST_ANSWER_S
        while reply.content.get("status") in responses.PENDING:
            if perf_counter() > over:
                raise ApiError("timeout", f"no answer in {LONGEST_ANSWER_S / 3600:.0f} hours", maybe_billed=ours)
            await (self.halt.sleep(pause) if note else asyncio.sleep(pause))
            pause = min(pause * 1.5, LONGEST_POLL_S)
            try:
                reply = _begun(
                    await self._http.get(f"{self.adapter.PATH}/{begun}?include[]=reasoning.encrypted_content")
                )
                failures = 0
            except Transient as error:
                failures += 1
                if failures == POLL_FAILURES:
                    raise ApiError(error.kind, error.message, error.http_status, maybe_billed=ours) from None
            except Fatal as error:
                if error.kind != "not_found" or note is None:
                    raise
                if not ours and note.age_s() < KEPT_S:
                    raise Fatal("ordered", _lost(begun, note), 404) from None
                note.clear()
                raise Transient("server", "the server no longer has the answer", 404, maybe_billed=ours) from None
        return reply

    def _forget(self, begun: str) -> None:
        task = asyncio.create_task(self._deleted(begun))
        self._forgetting.add(task)
        task.add_done_callback(self._forgetting.discard)

    async def _deleted(self, begun: str) -> None:
        if self._http is not None:
            with suppress(ApiError):  # a copy that OpenAI drops after 30 days
                await self._http.delete(f"{self.adapter.PATH}/{begun}")

    def _worst(self, data_bytes: int, request: dict[str, Any]) -> float:
        """At the standard price: a server may have no flex tier, and not say so before it has answered."""
        if self._prices is None:
            return 0.0
        longest = next(value for name, value in request["sampling"].items() if name.startswith("max_"))
        return self._prices.worst(data_bytes, longest, "standard")

    def _usual_answer(self) -> int:
        return self._answer_tokens // self._answers if self._answers else USUAL_ANSWER


def _lost(begun: str, note: Note) -> str:
    return (
        f"answer {begun} was ordered, and the server does not know it: use the key it was ordered with, or delete "
        f"{note.path} to order (and pay) again"
    )


def _begun(reply: Reply) -> Reply:
    """A reply that is a response with an id. Raises Transient when it is something else."""
    if not isinstance(reply.content, dict) or not reply.content.get("id"):
        raise Transient("broken_answer", f"the answer is not a response: {reply.content}", maybe_billed=True)
    return reply
