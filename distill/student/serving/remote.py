"""The student at an OpenAI-compatible endpoint that has base and adapter as two models, as vLLM has them."""

import asyncio
import contextlib
import secrets
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext

from distill.project import credentials
from distill.records.types import Message, Request
from distill.student.served_messages import numbered, tools_as_served
from distill.student.serving import model_names
from distill.student.serving.in_process import PLACES
from distill.teacher.answer import Answer
from distill.teacher.api import chat
from distill.teacher.api.http import Http
from distill.teacher.api.retry import until_answered
from distill.teacher.api.unread_calls import UnreadCalls
from distill.teacher.embedded.gguf_model import TIMEOUT_S, with_plain_ids
from distill.teacher.embedded.llama_server import Endpoint
from distill.teacher.errors import ApiError, Fatal, Transient
from distill.teacher.halt import Halt

NO_KEY = "none"
STUDENT = "student"
"""The name of the base with the adapter on a server; the base alone has its own name."""

KEY = "STUDENT_API_KEY"


def key_to_ask_for() -> str:
    """The key without which a server that is started here refuses: STUDENT_API_KEY, or a random one."""
    return credentials.get(KEY) or secrets.token_urlsafe(24)


class Served:
    """A student on a server, which is started or found at the first request.

    `start(port, stop)` is a context that gives the endpoint on a free port; it ends when the student is closed, and `stop`
    is set if it is not ready by then. `unread` looks at the student's answers.
    """

    max_concurrent = PLACES

    def __init__(
        self,
        start: Callable[[int, threading.Event], AbstractContextManager[Endpoint]],
        base: str,
        unread: UnreadCalls | None = None,
    ):
        self.identity = {"provider": "endpoint", "api": "chat", "model": STUDENT}
        self.start, self._models, self._unread = start, (base, STUDENT), unread
        self._server = ExitStack()
        self._stop = threading.Event()
        self._started: asyncio.Future[Endpoint] | None = None
        self._http: Http | None = None
        self._known: set[str] = set()
        self._checking = asyncio.Lock()

    @classmethod
    def at(cls, url: str, base: str, unread: UnreadCalls | None = None) -> "Served":
        """The student at a URL, with the key STUDENT_API_KEY where it asks for one."""
        return cls(lambda *_: nullcontext(Endpoint(url, credentials.get(KEY) or NO_KEY)), base, unread)

    async def ask(self, request: Request) -> Answer:
        """One answer of base or student, as `lora` in the sampling says, free of charge. Raises ApiError; Fatal
        where the server has not both of them."""
        if self._started is None:
            starting = asyncio.to_thread(self._server.enter_context, self.start(0, self._stop))
            self._started = asyncio.ensure_future(starting)
        endpoint = await asyncio.shield(self._started)  # cancelling one request must not cancel the start
        if self._http is None:
            key, missing_key = endpoint.api_key, None if endpoint.api_key != NO_KEY else KEY
            self._http = Http(endpoint.base_url, {"Authorization": f"Bearer {key}"}, TIMEOUT_S, missing_key)
        sampling = {name: value for name, value in request["sampling"].items() if name != "lora"}
        adapted = any(adapter["scale"] for adapter in request["sampling"].get("lora", [{"scale": 1.0}]))
        await self._check({STUDENT, self._models[adapted]})
        changes = {
            "model": self._models[adapted],
            "messages": [_under_both_names(message) for message in numbered(request["messages"])],
            "sampling": sampling,
            "tools": tools_as_served(request["tools"]),
        }
        answer = await self._ask_with_retries(request | changes)
        if self._unread and adapted:
            self._unread.check(answer["message"], request["tools"])
        message = with_plain_ids(answer["message"], request["messages"])
        return {**answer, "message": message, "response_id": None, "cost_usd": 0.0}

    async def _check(self, names: set[str]) -> None:
        """Raises Fatal, before anything is asked, where the server has no model of its own under one of the names."""
        assert self._http is not None
        async with self._checking:
            if unknown := names - self._known:
                await model_names.check(self._http, unknown, self._ask_with_retries)
                self._known |= unknown

    async def _ask_with_retries(self, request: Request) -> Answer:
        """The answer, after retries where they may help: an error of a busy server says nothing about the student."""
        http = self._http
        assert http is not None

        async def once() -> Answer:
            try:
                return await chat.ask(http, request)
            except Transient as error:
                if error.kind == "connection" and not http.has_responded:
                    raise Fatal("unreachable", error.message) from None
                if error.kind == "timeout":  # the same question would take as long again
                    raise ApiError(error.kind, error.message) from None
                raise

        try:
            return await until_answered(once, Halt())
        except Transient as error:
            if error.kind == "connection":
                raise Fatal("unreachable", error.message) from None
            raise

    async def close(self) -> None:
        """Closes the connection and stops the server, if it was started here, also one that is not ready yet."""
        if self._http is not None:
            await self._http.close()
        if self._started is not None:
            self._stop.set()
            with contextlib.suppress(Exception):  # the caller has had the error
                await self._started
            await asyncio.to_thread(self._server.close)
        self._http = self._started = None


def _under_both_names(message: Message) -> Message:
    """A message with its thoughts as `reasoning`, too: vLLM drops `reasoning_content`, which it once used itself."""
    thought = message.get("reasoning_content")
    return message | {"reasoning": thought} if thought else message
