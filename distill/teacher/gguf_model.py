"""A GGUF model on this machine, behind llama.cpp's own OpenAI-compatible server, which the first question starts."""

import asyncio
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from distill.records.faults import InputError
from distill.records.types import Message, Request, Sampling, ToolSchema
from distill.teacher import calls_in_text, chat
from distill.teacher.answer import Answer
from distill.teacher.errors import ApiError, Fatal
from distill.teacher.http import Http
from distill.teacher.store import Note

CONTEXT_TOKENS = 8192
"""Of one conversation: a few tool results as long as `agent.tool_output_chars` allows, such as web pages. A token takes
12 kB of memory in the 0.5B teacher and 28 kB in the 1.5B one, in each slot, whether it is used or not."""
TIMEOUT_S = 900.0


class GgufModel:
    """Asks a local model with `slots` answers in flight.

    `identity` goes into every request's key: what runs here, by hash. `adapter` is a LoRA in GGUF form. `lenient`: calls
    in the text count, too (calls_in_text.py); a student is examined as it is served, so for it they do not.
    """

    seeded = True
    leased = True

    def __init__(
        self,
        gguf: Path,
        template: Path | None,
        identity: dict[str, Any],
        slots: int,
        adapter: Path | None = None,
        lenient: bool = False,
    ):
        self.gguf, self.template, self.identity = gguf, template, identity
        self.slots = self.places = slots
        self.adapter, self.lenient = adapter, lenient
        self._server = ExitStack()
        self._http: Http | None = None
        self._starting = asyncio.Lock()

    def request(
        self,
        messages: list[Message],
        tools: list[ToolSchema],
        sampling: Sampling,
        earlier: list[Answer],
    ) -> Request:
        """The canonical request."""
        return chat.request(self.identity, messages, tools, sampling, earlier)

    async def ask(self, request: Request, note: Note | None = None) -> Answer:
        """One answer, free of charge and without what differs between machines: random ids, paths. Raises ApiError."""
        async with self._starting:
            if self._http is None:
                self._http = await asyncio.to_thread(self._start)
        try:
            answer = await chat.ask(self._http, request)
        except ApiError as error:
            if error.kind != "call_unreadable":
                raise
            # llama.cpp withholds the text. The same prompt and seed, and what comes is not read as calls: the text is the
            # answer.
            answer = await chat.ask(self._http, request, tool_choice="none")
        message = calls_in_text.read(answer["message"], request["tools"]) if self.lenient else answer["message"]
        reason = (
            "tool_calls" if message.get("tool_calls") and answer["finish_reason"] == "stop" else answer["finish_reason"]
        )
        return {
            **answer,
            "message": with_plain_ids(message, request["messages"]),
            "finish_reason": reason,
            "model": self.identity["model"],
            "response_id": None,
            "cost_usd": 0.0,
        }

    async def close(self) -> None:
        """Stops the server if it runs."""
        if self._http is not None:
            await self._http.close()
            await asyncio.to_thread(self._server.close)
            self._http = None

    def _start(self) -> Http:
        from distill.teacher.llama_server import serve

        try:
            endpoint = self._server.enter_context(
                serve(
                    self.gguf,
                    slots=self.slots,
                    context=CONTEXT_TOKENS,
                    template=self.template,
                    adapters=[self.adapter] if self.adapter else [],
                )
            )
        except InputError as error:
            raise Fatal("embedded_server", str(error)) from error
        return Http(endpoint.base_url, {"Authorization": f"Bearer {endpoint.api_key}"}, TIMEOUT_S)


def with_plain_ids(message: Message, before: list[Message]) -> Message:
    """The message with its calls numbered through the conversation, in place of a server's random ids."""
    if not message.get("tool_calls"):
        return message
    earlier = sum(len(told.get("tool_calls") or []) for told in before)
    calls = [call | {"id": f"call_{earlier + place}"} for place, call in enumerate(message["tool_calls"], start=1)]
    return message | {"tool_calls": calls}
