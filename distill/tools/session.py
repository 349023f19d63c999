"""The tools of one rollout: opened when they are first needed, called within limits, closed with the rollout."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

import orjson

from distill.records import credentials
from distill.records.tool_error import TOOL_ERROR
from distill.tools.arguments import parse
from distill.tools.keeper import Entered, Keeper, explain
from distill.tools.source import Caller, Offer, Sandboxes, SessionLost, Source, ToolError


class Limits(NamedTuple):
    """Seconds that a call may take unless its tool says otherwise, and characters of a result that the model sees."""

    timeout_s: float
    output_chars: int


class Told(NamedTuple):
    """What a tool said (errors begin with `error: `), credentials replaced; how many milliseconds it took, None when it
    did not run; and the id of the image of the rollout's sandbox, if there was one."""

    content: str
    ms: float | None
    image: str | None = None


class Session:
    """`schemas` are the tools of the rollout. `call` raises nothing but SessionLost: what goes wrong is told to the model."""

    def __init__(
        self,
        prompt: dict[str, Any],
        offered: list[tuple[Source, Offer]],
        limits: Limits,
        sandboxes: Sandboxes | None,
        places: asyncio.Semaphore,
    ):
        self.schemas = [offer.schema for _, offer in offered]
        self._prompt, self._limits, self._sandboxes, self._places = prompt, limits, sandboxes, places
        self._offered = {offer.name: (source, offer) for source, offer in offered}
        self._sources = list({id(source): source for source, _ in offered}.values())
        self._kept: dict[int, Keeper[Caller] | Entered[Caller]] = {}
        self._turns: dict[int, asyncio.Lock] = {}
        self._sandbox: Keeper[Any] | None = None
        self._place: asyncio.Task[Any] | None = None
        self._restored: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to open what the tools need, so that it is ready when the model's first answer is."""
        if self._kept or not self._sources:
            return
        boxed = self._sandboxes is not None and bool(self._prompt.get("docker"))
        if boxed or any(source.stateful for source in self._sources):
            self._place = asyncio.create_task(self._places.acquire())
        if boxed:
            self._sandbox = Keeper(self._placed(self._sandboxes.open(self._prompt)))  # type: ignore[union-attr]
        for source in self._sources:
            self._kept[id(source)] = (
                Keeper(self._open(source)) if source.stateful else Entered(partial(source.open, self._prompt, None))
            )

    async def call(self, call: dict[str, Any], earlier: Sequence[dict[str, Any]] = ()) -> Told:
        """Runs one tool call of the model, in OpenAI's form.

        `earlier`: calls of this rollout that an earlier run made and whose results are known. They are made again in
        a session that has state, so that the page is open that this call is about.
        """
        arguments, fault = parse(call, self.schemas)
        if fault:
            return Told(self._cut(TOOL_ERROR + fault), None)
        self.start()
        if earlier:
            self._restored = self._restored or asyncio.create_task(self._restore(earlier))
            await self._restored
        return await self._run(call["function"]["name"], arguments)

    async def close(self) -> None:
        """Gives back everything that was opened."""
        if self._restored:
            self._restored.cancel()
        await asyncio.gather(*(keeper.close() for keeper in self._kept.values()))
        if self._sandbox:
            await self._sandbox.close()
        if self._place and not self._place.cancel() and not self._place.cancelled():
            self._places.release()

    async def _run(self, name: str, arguments: dict[str, Any]) -> Told:
        source, offer = self._offered[name]
        keeper = self._kept[id(source)]
        caller = await keeper.get()
        image = (await self._sandbox.get()).image if self._sandbox else None
        limit = offer.timeout_s or self._limits.timeout_s
        turn = self._turns.setdefault(id(source), asyncio.Lock()) if offer.in_turn else nullcontext()
        async with turn:
            started = time.perf_counter()
            try:
                async with asyncio.timeout(limit):
                    result = await keeper.use(caller.call(offer.own or name, arguments))
                content = self._cut(result if isinstance(result, str) else _json(result))
            except SessionLost:
                raise
            except TimeoutError:
                content = f"{TOOL_ERROR}the tool did not answer within {limit:g} s"
            except ToolError as error:
                content = self._cut(f"{TOOL_ERROR}{error}")
            except Exception as error:  # a tool is the user's code: whatever it raises is the model's to read
                content = self._cut(f"{TOOL_ERROR}{explain(error)}")
            return Told(content, round((time.perf_counter() - started) * 1000, 1), image)

    async def _restore(self, earlier: Sequence[dict[str, Any]]) -> None:
        for call in earlier:
            arguments, fault = parse(call, self.schemas)
            if not fault and self._offered[call["function"]["name"]][0].stateful:
                await self._run(call["function"]["name"], arguments)

    @asynccontextmanager
    async def _placed(self, resource: Any) -> AsyncIterator[Any]:
        """`resource`, once there is room for one more session."""
        if self._place:
            await asyncio.shield(self._place)
        async with resource as opened:
            yield opened

    @asynccontextmanager
    async def _open(self, source: Source) -> AsyncIterator[Caller]:
        sandbox = await self._sandbox.get() if self._sandbox else None
        async with self._placed(source.open(self._prompt, sandbox)) as caller:
            yield caller

    def _cut(self, text: str) -> str:
        text, longest = credentials.redact(text), self._limits.output_chars  # in this order: half a key is no known key
        if len(text) <= longest:
            return text
        return f"{text[:longest]}\n[cut: the first {longest} of {len(text)} characters]"


def _json(value: Any) -> str:
    """What a tool returns, as JSON where that can say it: the same value is the same text in every process."""
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS, default=_plain).decode()
    except TypeError:
        pass
    try:
        return json.dumps(value, default=_plain, ensure_ascii=False)  # knows integers of more than 64 bits
    except (TypeError, ValueError, RecursionError):
        return str(value)


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError
