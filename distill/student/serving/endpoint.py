"""An OpenAI-compatible HTTP endpoint over a student in this process: chat completions, the list of models, health."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import orjson
from aiohttp import web

from distill.records.faults import InputError
from distill.records.types import Message
from distill.student.serving.chat_body import plain
from distill.student.serving.in_process import InProcess
from distill.student.serving.remote import STUDENT, key_to_ask_for
from distill.teacher.api.http import parse_json
from distill.teacher.embedded.llama_server import Endpoint
from distill.teacher.errors import ApiError

LARGEST_REQUEST = 64 * 2**20
"""Bytes of a request, at most."""


@asynccontextmanager
async def serving(model: InProcess, port: int = 0) -> AsyncIterator[Endpoint]:
    """Serves `model` on a loopback port (0: a free one) until the block ends.

    The model `student` answers with the adapter, the base under its own name without; any other name gets status 404. A
    request with `stream` gets text as it is generated, and tool calls at the end. A request that is refused or not
    supported (see chat_body.py) gets status 400, all of them 500 where the student cannot be loaded. Errors have OpenAI's
    form.
    """
    key = key_to_ask_for()
    names, started = (STUDENT, model.identity["model"]), int(time.time())

    @web.middleware
    async def with_key(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path != "/health" and request.headers.get("Authorization") != f"Bearer {key}":
            return _error(401, "the key is missing or wrong")
        try:
            return await handler(request)
        except web.HTTPNotFound:
            return _error(404, f"{request.path}: not served here, only /v1/chat/completions and /v1/models")

    async def completions(request: web.Request) -> web.StreamResponse:
        try:
            body = plain(parse_json(await request.read()))
            name = body.get("model", STUDENT)
            if name not in names:
                return _error(404, f"there is no model {name!r} here, only {' and '.join(names)}")
            body = {"lora": [{"id": 0, "scale": float(name == STUDENT)}], **body}
            named = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": name}
            if not body.get("stream"):
                return web.json_response(body=orjson.dumps(await model.complete(body) | named))
            events = _events(model, body, named)
            first = await anext(events)  # a refusal comes before the status is sent
        except (ValueError, ApiError) as refused:
            return _error(400, str(refused))
        except InputError as failed:  # it is loaded at the first request; the adapter may be gone by then
            return _error(500, str(failed))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        async with aclosing(events):
            await response.prepare(request)
            await response.write(first)
            async for event in events:
                await response.write(event)
        return response

    async def models(_: web.Request) -> web.StreamResponse:
        listed = [{"id": name, "object": "model", "created": started, "owned_by": "you"} for name in names]
        return web.json_response({"object": "list", "data": listed})

    async def health(_: web.Request) -> web.StreamResponse:
        return web.json_response({"status": "ok"})

    app = web.Application(middlewares=[with_key], client_max_size=LARGEST_REQUEST)
    app.add_routes(
        [
            web.post("/v1/chat/completions", completions),
            web.get("/v1/models", models),
            web.get("/health", health),
        ]
    )
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        address = runner.addresses[0]
        yield Endpoint(f"http://{address[0]}:{address[1]}/v1", key)
    finally:
        await runner.cleanup()
        await model.close()


async def _events(model: InProcess, body: dict[str, Any], named: dict[str, Any]) -> AsyncGenerator[bytes]:
    """The events of a stream, each with the new part of the message. Raises as `model.complete`."""
    messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    answering = asyncio.create_task(model.complete(body, messages.put_nowait))
    answering.add_done_callback(lambda _: messages.put_nowait({}))
    sent: dict[str, Any] = {}
    try:
        while message := await messages.get():
            if delta := _delta(sent, message):
                sent |= message
                yield _event(named, delta, None)
        completion = await answering
        [choice] = completion["choices"]
        yield _event(completion | named, _delta(sent, choice["message"]), choice["finish_reason"]) + b"data: [DONE]\n\n"
    finally:
        answering.cancel()  # the client may have gone


def _delta(sent: dict[str, Any], message: Message) -> dict[str, Any]:
    """The part of a message that was not sent before; empty while it is shorter, since an answer may be generated again."""
    texts = {name: text[len(sent.get(name, "")) :] for name, text in message.items() if isinstance(text, str)}
    calls = [{"index": n, **call} for n, call in enumerate(message.get("tool_calls", []))]
    return {name: text for name, text in texts.items() if text} | ({"tool_calls": calls} if calls else {})


def _event(chunk: dict[str, Any], delta: dict[str, Any], reason: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return b"data: " + orjson.dumps(chunk | {"object": "chat.completion.chunk", "choices": [choice]}) + b"\n\n"


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": "invalid_request_error"}}, status=status)
