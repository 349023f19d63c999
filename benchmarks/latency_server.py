"""An OpenAI-compatible server that answers every request after a fixed time, in little CPU: `PORT LATENCY_S TURNS`.

It calls the first tool until its answer number TURNS, for Chat Completions and for Responses. GET /stats tells when the
first request came and each answer went, by the number in its id, and how many there were.
"""

import asyncio
import itertools
import sys
import time
from typing import Any

import orjson

from distill.records.types import Message

NUMBERS = itertools.count()
STATS: dict[str, Any] = {"first": 0.0, "count": 0, "in_flight": 0, "most_in_flight": 0, "sent": {}}
ARGUMENTS = '{"a": 1, "b": %d}'


def answer(path: bytes, body: bytes, turns: int) -> dict[str, Any]:
    """The next answer of a conversation, by how many tool results it holds."""
    number = next(NUMBERS)
    if path.endswith(b"/responses"):
        told = body.count(b'"function_call_output"')
        item: dict[str, Any] = {
            "type": "message",
            "id": f"msg_{number}",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Answer: 1", "annotations": []}],
        }
        if told < turns - 1:
            item = {
                "type": "function_call",
                "id": f"fc_{number}",
                "call_id": f"call_{number}",
                "name": "add",
                "status": "completed",
                "arguments": ARGUMENTS % told,
            }
        return {
            "id": f"resp_{number}",
            "object": "response",
            "status": "completed",
            "model": "m",
            "output": [
                {"type": "reasoning", "id": f"rs_{number}", "summary": [], "encrypted_content": "x" * 2000},
                item,
            ],
            "usage": {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120},
        }
    told = body.count(b'"role":"tool"') + body.count(b'"role": "tool"')
    message: Message = {"role": "assistant", "content": "Answer: 1"}
    if told < turns - 1:
        function = {"name": "add", "arguments": ARGUMENTS % told}
        message = {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": f"call_{number}", "type": "function", "function": function}],
        }
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "model": "m",
        "created": 1,
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if told < turns - 1 else "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
    }


class Connection(asyncio.Protocol):
    """HTTP/1.1, as much of it as clients send."""

    def __init__(self, latency_s: float, turns: int):
        self._latency_s, self._turns = latency_s, turns
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            body, self._buffer = self._buffer[end + 4 : end + 4 + length], self._buffer[end + 4 + length :]
            method, path, _ = head.split(b" ", 2)
            if method == b"get":
                self._write(STATS if path == b"/stats" else {"data": []})
                continue
            STATS["first"] = STATS["first"] or time.time()
            STATS["in_flight"] += 1
            STATS["most_in_flight"] = max(STATS["most_in_flight"], STATS["in_flight"])
            asyncio.get_running_loop().call_later(self._latency_s, self._reply, path, body)

    def _reply(self, path: bytes, body: bytes) -> None:
        STATS["in_flight"] -= 1
        STATS["count"] += 1
        content = answer(path, body, self._turns)
        STATS["sent"][content["id"].rpartition("-")[2]] = time.time()
        self._write(content)

    def _write(self, content: Any) -> None:
        data = orjson.dumps(content)
        if not self._transport.is_closing():
            self._transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(data) + data
            )


async def main(port: int, latency_s: float, turns: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(latency_s, turns), "127.0.0.1", port, backlog=16_384)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
