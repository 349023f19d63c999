"""A teacher behind real HTTP: it says what a test tells it to, slowly, wrongly or not at all, and keeps the books.

Answers are scripted as functions of the request's body; what was received and what was answered to the last byte is
on record, since that is what a provider would charge for.
"""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import openai_types

STALL = object()
"""A reply that never comes."""


@dataclass
class Cut:
    """A reply of which only the first `at` bytes arrive before the connection is reset."""

    content: Any
    at: int


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    raw: bytes
    connected_at: float


Reply = Callable[[Asked], Any]


@dataclass
class Books:
    """`base_url`; every request so far; which was answered to the last byte, and when."""

    base_url: str = ""
    asked: list[Asked] = field(default_factory=list)
    answered: list[tuple[float, Asked]] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    @property
    def posts(self) -> list[Asked]:
        return [asked for asked in self.asked if asked.method == "POST"]

    @property
    def times_paid(self) -> Counter[bytes]:
        """How often each body was answered, that is: paid for."""
        return Counter(asked.raw for _, asked in self.answered)


@contextmanager
def serving(
    reply: Reply, latency_s: float = 0.0, gets: Reply = lambda asked: (404, {}, {}), port: int = 0
) -> Iterator[Books]:
    """Serves POSTs by `reply(asked)` after `latency_s`, all else by `gets(asked)`, on `port` of loopback (0: a free one).

    A reply is JSON content, `(status, content, headers)`, a `Cut` or STALL. Raises at the end where OpenAI's types do
    not allow what was asked.
    """
    books = Books()
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected_at = time.monotonic()
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                method, path, _ = head[0].split(" ")
                headers = {
                    name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)
                }
                raw = await reader.readexactly(int(headers.get("content-length", 0)))
                is_json = headers.get("content-type", "").startswith("application/json")
                asked = Asked(method, path, headers, json.loads(raw) if raw and is_json else None, raw, connected_at)
                books.asked.append(asked)
                await answer(asked, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        books.in_flight += 1
        books.most_in_flight = max(books.most_in_flight, books.in_flight)
        try:
            found = (reply if asked.method == "POST" else gets)(asked)
            if found is STALL:
                await asyncio.sleep(3600)
            if asked.method == "POST" and latency_s:
                await asyncio.sleep(latency_s)
        finally:
            books.in_flight -= 1
        cut = None
        if isinstance(found, Cut):
            found, cut = found.content, found.at
        status, content, headers = found if isinstance(found, tuple) else (200, found, {})
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        told = {"content-type": "application/json", "content-length": str(len(data)), **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        writer.write(f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + data[:cut])
        await writer.drain()
        if cut is not None:
            writer.transport.abort()
            raise ConnectionError
        if status == 200 and asked.method == "POST":
            books.answered.append((time.monotonic(), asked))

    async def main() -> None:
        server = await asyncio.start_server(connected, "127.0.0.1", port, limit=2**24)
        books.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        ready.set()
        async with server:
            await stop.wait()

    stop = asyncio.Event()

    def work() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(main())
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    ready.wait(300)
    try:
        yield books
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
    for asked in books.posts:
        if asked.path in openai_types.TYPES:
            openai_types.check(asked.path, asked.body)


# Chat completions


def says(content: str, finish_reason: str = "stop", **message: Any) -> dict[str, Any]:
    """A completion with a text answer."""
    return completion({"role": "assistant", "content": content, **message}, finish_reason)


def calls(*tool_calls: tuple[str, str, str]) -> dict[str, Any]:
    """A completion with tool calls `(id, name, raw arguments)`."""
    asked = [
        {"id": key, "type": "function", "function": {"name": name, "arguments": arguments}}
        for key, name, arguments in tool_calls
    ]
    return completion({"role": "assistant", "content": None, "tool_calls": asked}, "tool_calls")


def completion(message: dict[str, Any], finish_reason: str, **more: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_764_000_000,
        "model": "scripted-1",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
        **more,
    }


# Responses


def response(*items: dict[str, Any], status: str = "completed", **more: Any) -> dict[str, Any]:
    """A response with these output items."""
    usage = {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 0},
        "output_tokens": 50,
        "output_tokens_details": {"reasoning_tokens": 30},
        "total_tokens": 150,
    }
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_764_000_000,
        "status": status,
        "model": "gpt-5.2-2025-12-11",
        "output": list(items),
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "usage": usage,
        "error": None,
        "incomplete_details": None,
        **more,
    }


def text(*parts: str) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": part, "annotations": []} for part in parts],
    }


def function_call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {
        "id": f"fc_{call_id}",
        "type": "function_call",
        "status": "completed",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
    }


def reasoning(secret: str, *summary: str) -> dict[str, Any]:
    return {
        "id": "rs_1",
        "type": "reasoning",
        "encrypted_content": secret,
        "summary": [{"type": "summary_text", "text": part} for part in summary],
    }


def refused(
    status: int, code: str | None, message: str = "no", param: str | None = None, **headers: str
) -> tuple[Any, ...]:
    """A refusal as OpenAI words it; underscores in header names become hyphens."""
    error = {"message": message, "type": code, "code": code, "param": param}
    return status, {"error": error}, {name.replace("_", "-"): value for name, value in headers.items()}
