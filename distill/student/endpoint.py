"""An OpenAI-compatible HTTP endpoint over a student in this process: chat completions, the list of models, health."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson

from distill.student.chat_body import plain
from distill.student.in_process import InProcess
from distill.student.served import STUDENT
from distill.teacher.errors import ApiError
from distill.teacher.llama_server import Endpoint


@asynccontextmanager
async def serving(model: InProcess, port: int = 0) -> AsyncIterator[Endpoint]:
    """Serves `model` on a loopback port (0: a free one) with a random key, until the block ends.

    The model `student` answers with the adapter, any other name without. A request with `stream` gets the whole answer in
    one event. A request that is refused, or that asks for what cannot be done here (see chat_body.py), gets status 400 and
    OpenAI's form of an error.
    """
    from aiohttp import web

    key = secrets.token_urlsafe(24)

    @web.middleware
    async def with_key(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path != "/health" and request.headers.get("Authorization") != f"Bearer {key}":
            return _error(401, "the key is missing or wrong")
        return await handler(request)

    async def completions(request: web.Request) -> web.StreamResponse:
        try:
            body = plain(orjson.loads(await request.read()))
            adapted = body.get("model", STUDENT) == STUDENT
            answer = await model.complete({"lora": [{"id": 0, "scale": float(adapted)}], **body})
        except (ValueError, ApiError) as refused:
            return _error(400, str(refused))
        answer |= {"id": f"chatcmpl-{secrets.token_hex(12)}", "model": body.get("model", STUDENT)}
        if not body.get("stream"):
            return web.json_response(body=orjson.dumps(answer))
        return web.Response(body=_event(answer) + b"data: [DONE]\n\n", content_type="text/event-stream")

    async def models(_: web.Request) -> web.StreamResponse:
        listed = [{"id": name, "object": "model", "owned_by": "you"} for name in (STUDENT, model.identity["model"])]
        return web.json_response({"object": "list", "data": listed})

    async def health(_: web.Request) -> web.StreamResponse:
        return web.json_response({"status": "ok"})

    app = web.Application(middlewares=[with_key], client_max_size=64 * 2**20)
    app.add_routes(
        [
            web.post("/v1/chat/completions", completions),
            web.get("/v1/models", models),
            web.get("/health", health),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        address = runner.addresses[0]
        yield Endpoint(f"http://{address[0]}:{address[1]}/v1", key)
    finally:
        await runner.cleanup()
        await model.close()


def _event(answer: dict[str, Any]) -> bytes:
    choice = answer["choices"][0]
    calls = [{"index": n, **call} for n, call in enumerate(choice["message"].get("tool_calls", []))]
    delta = choice["message"] | ({"tool_calls": calls} if calls else {})
    chunk = answer | {
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": delta, "finish_reason": choice["finish_reason"]}],
    }
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def _error(status: int, message: str) -> Any:
    from aiohttp import web

    return web.json_response({"error": {"message": message, "type": "invalid_request_error"}}, status=status)
