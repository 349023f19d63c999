"""The tools of one rollout: opened when they are first needed, called within limits, closed with the rollout."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

from distill.project import credentials
from distill.records.tool_error import TOO_LATE, TOOL_ERROR
from distill.records.types import ToolCall
from distill.tools.arguments import parse
from distill.tools.resource import explain
from distill.tools.rollout_resources import RolloutResources
from distill.tools.source import Offer, SessionLost, Source, ToolError


class CallLimits(NamedTuple):
    """Seconds that a call may take unless its tool has a limit of its own, and the characters of a result that the model
    sees."""

    timeout_s: float
    output_chars: int


class ToolResult(NamedTuple):
    """The content of a tool message (an error begins with `error: `), with credentials replaced.

    `ms`: how long the tool ran, None when it did not. `image`: the id of the image of the rollout's sandbox, if any.
    """

    content: str
    ms: float | None
    image: str | None = None


class Session:
    """`schemas` are the tools of the rollout. `call` raises only SessionLost: any other failure is told to the model."""

    def __init__(self, offered: list[tuple[Source, Offer]], limits: CallLimits, resources: RolloutResources):
        self.schemas = [offer.schema for _, offer in offered]
        self._limits, self._resources = limits, resources
        self._offered = {offer.name: (source, offer) for source, offer in offered}
        self._locks: dict[Source, asyncio.Lock] = {}
        self._restored, self._restoring = 0, asyncio.Lock()

    def start(self) -> None:
        """Begins to open what the tools need, so that it is ready by the time of the model's first answer."""
        self._resources.start()

    async def call_all(self, calls: list[ToolCall], earlier: Sequence[ToolCall] = ()) -> list[ToolResult]:
        """As `call`, for the calls of one answer, concurrently. Raises SessionLost when all of them have ended."""
        if len(calls) == 1:  # which needs no task
            return [await self.call(calls[0], earlier)]
        works = [asyncio.create_task(self.call(call, earlier)) for call in calls]
        await asyncio.gather(*works, return_exceptions=True)
        return [work.result() for work in works]

    async def call(self, call: ToolCall, earlier: Sequence[ToolCall] = ()) -> ToolResult:
        """Runs one tool call of the model, in OpenAI's form.

        `earlier`: all calls of this rollout so far whose results are stored from an earlier run. Tools with state make
        them again first, so that, for example, the page that this call is about is open.
        """
        arguments, fault = parse(call, self.schemas)
        if fault:
            return ToolResult(self._cut(TOOL_ERROR + fault), None)
        self._resources.start()
        if earlier:
            await self._restore(earlier)
        return await self._run(call["function"]["name"], arguments)

    async def _run(self, name: str, arguments: dict[str, Any]) -> ToolResult:
        source, offer = self._offered[name]
        resource = self._resources.caller(source)
        caller = await resource.get()
        image = await self._resources.image()
        limit = offer.timeout_s or self._limits.timeout_s
        lock = self._locks.setdefault(source, asyncio.Lock()) if offer.keeps_state else nullcontext()
        async with lock:
            started = time.perf_counter()
            try:
                async with asyncio.timeout(None if source.keeps_time else limit) as timer:
                    result = await resource.use(caller(offer.source_name or name, arguments))
                content = self._cut(result)
            except SessionLost:
                raise
            except ToolError as error:
                content = self._cut(f"{TOOL_ERROR}{error}")
            except Exception as error:  # a tool is the user's code and may raise anything: the model reads what
                late = f"{TOO_LATE}{limit:g} s"
                content = late if timer.expired() else self._cut(f"{TOOL_ERROR}{explain(error)}")
            return ToolResult(content, round((time.perf_counter() - started) * 1000, 1), image)

    async def _restore(self, earlier: Sequence[ToolCall]) -> None:
        async with self._restoring:
            for call in earlier[self._restored :]:
                arguments, fault = parse(call, self.schemas)
                if not fault and self._keeps_state(call["function"]["name"]):
                    await self._run(call["function"]["name"], arguments)
                self._restored += 1

    def _keeps_state(self, name: str) -> bool:
        source, offer = self._offered[name]
        return source.stateful or offer.keeps_state

    def _cut(self, text: str) -> str:
        # Credentials go before the cut: half a one would not be recognised. Not all of a long text is looked through, since
        # the event loop stands still meanwhile, so what may be half a one at the end of that is not shown.
        longest, margin = self._limits.output_chars, credentials.longest()
        looked_at = credentials.redact(text[: longest + margin])
        if len(text) <= longest + margin:
            length = len(looked_at)
        else:
            unsafe = 0 if looked_at.endswith(credentials.REPLACED) else margin
            length, longest = len(text), max(0, min(longest, len(looked_at) - unsafe))
        if length <= longest:
            return looked_at
        return f"{looked_at[:longest]}\n[cut: the first {longest} of {length} characters]"
