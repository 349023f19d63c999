"""A GGUF model on this machine, behind llama.cpp's own OpenAI-compatible server, which the first request starts."""

import asyncio
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

from distill.records.faults import InputError
from distill.records.ids import file_hash
from distill.records.types import Message, Request
from distill.teacher.answer import Answer
from distill.teacher.api import calls_in_text, chat
from distill.teacher.api.http import Http
from distill.teacher.embedded import weights
from distill.teacher.errors import ApiError, Fatal
from distill.teacher.store import Note

CONTEXT_TOKENS = 8192
"""Of one conversation: room for a few tool results as long as `agent.tool_output_chars` allows, such as web pages. A token
takes 12 kB of memory in the 0.5B teacher and 28 kB in the 1.5B one, in each slot, whether it is used or not."""
TIMEOUT_S = 900.0
"""Of one answer, as long as a slow machine may take."""


class GgufModel:
    """Asks a local model with `slots` answers in flight.

    `identity` is part of every request's key and names what runs here by its hash. Calls in the text are read as calls
    (calls_in_text.py).
    """

    api: ModuleType = chat
    takes_seed = True
    needs_lease = True

    def __init__(self, gguf: Path, template: Path | None, identity: dict[str, Any], slots: int):
        self.gguf, self.template, self.identity = gguf, template, identity
        self.max_concurrent = slots
        self._server = ExitStack()
        self._http: Http | None = None
        self._starting = asyncio.Lock()

    async def ask(self, request: Request, note: Note | None = None) -> Answer:
        """One answer, free of charge, without random ids and paths, so that it is the same on every machine. Raises ApiError."""
        async with self._starting:
            if self._http is None:
                self._http = await asyncio.to_thread(self._start)
        try:
            answer = await chat.ask(self._http, request)
        except ApiError as error:
            if error.kind != "call_unreadable":
                raise
            # llama.cpp does not give the text of the call that it cannot parse. With the same prompt and seed, and without
            # parsing, it gives the same text, as the answer.
            answer = await chat.ask(self._http, request, tool_choice="none")
        message, finish_reason = calls_in_text.read(answer["message"], request["tools"]), answer["finish_reason"]
        if message.get("tool_calls") and finish_reason == "stop":
            finish_reason = "tool_calls"
        return {
            **answer,
            "message": with_plain_ids(message, request["messages"]),
            "finish_reason": finish_reason,
            "model": self.identity["model"],
            "response_id": None,
            "cost_usd": 0.0,
        }

    async def close(self) -> None:
        """Stops the server if it is running."""
        if self._http is not None:
            await self._http.close()
            await asyncio.to_thread(self._server.close)
            self._http = None

    def _start(self) -> Http:
        from distill.teacher.embedded.llama_server import serve

        try:
            endpoint = self._server.enter_context(
                serve(self.gguf, slots=self.max_concurrent, context=CONTEXT_TOKENS, template=self.template)
            )
        except InputError as error:
            raise Fatal("embedded_server", str(error)) from error
        return Http(endpoint.base_url, {"Authorization": f"Bearer {endpoint.api_key}"}, TIMEOUT_S)


def is_local(model: str) -> bool:
    """Whether the name means weights on this machine: `local/<name>` or a path to a GGUF file."""
    return model.startswith("local/") or model.endswith(".gguf")


def local_model(model: str, slots: int) -> GgufModel:
    """A GGUF model; an embedded one with the template that comes with it, others with their own."""
    gguf, embedded = weights.find(model)
    template = embedded.template if embedded else None
    identity = {
        "provider": "llama.cpp",
        "api": "chat",
        "model": embedded.name if embedded else gguf.stem,
        "weights": embedded.sha256 if embedded else file_hash(gguf),
        "template": file_hash(template) if template else None,
    }
    return GgufModel(gguf, template, identity, slots)


def with_plain_ids(message: Message, earlier: list[Message]) -> Message:
    """The message with calls numbered on from those of `earlier` messages, in place of a server's random ids."""
    if not message.get("tool_calls"):
        return message
    first = 1 + sum(len(turn.get("tool_calls") or []) for turn in earlier)
    calls = [call | {"id": f"call_{number}"} for number, call in enumerate(message["tool_calls"], start=first)]
    return message | {"tool_calls": calls}
