"""A real HTTP server that speaks Chat Completions; a test says what it answers and reads what it was asked."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[dict[str, Any]], dict[str, Any] | tuple[int, Any, dict[str, str]]]


def says(content: str, finish_reason: str = "stop", **message: Any) -> dict[str, Any]:
    """A completion with a text answer."""
    return _completion({"role": "assistant", "content": content, **message}, finish_reason)


def calls(*tool_calls: tuple[str, str, str]) -> dict[str, Any]:
    """A completion with tool calls `(id, name, raw arguments)`."""
    asked = [
        {"id": key, "type": "function", "function": {"name": name, "arguments": arguments}}
        for key, name, arguments in tool_calls
    ]
    return _completion({"role": "assistant", "content": None, "tool_calls": asked}, "tool_calls")


def _completion(message: dict[str, Any], finish_reason: str) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "scripted-1",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
    }


class ChatServer:
    """`base_url`, and the bodies of all requests so far in `asked`."""

    def __init__(self, base_url: str):
        self.base_url = base_url
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []


@contextmanager
def serving(reply: Reply, models: Any = None) -> Iterator[ChatServer]:
    """Serves `reply(body)` on a free loopback port: a completion, or `(status, body, headers)`; and `models` as the list
    of models, if there is one.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            server.asked.append(body)
            server.headers.append({name.lower(): value for name, value in self.headers.items()})
            self.send(reply(body))

        def do_GET(self) -> None:
            listed = self.path == "/v1/models" and models is not None
            self.send(models if listed else (404, {"error": {"message": "no such path"}}, {}))

        def send(self, answer: Any) -> None:
            status, content, headers = answer if isinstance(answer, tuple) else (200, answer, {})
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {
                "content-type": "application/json",
                "content-length": str(len(data)),
                **headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(ConnectionError):  # a test may have killed who asked
                self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    server = ChatServer(f"http://127.0.0.1:{listener.server_port}/v1")
    thread = threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
