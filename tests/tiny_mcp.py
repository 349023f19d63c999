"""An MCP server of nothing but Python's library, for the inside of a container: `python3 tiny_mcp.py PORT`.

Like Playwright's it takes only requests that call it localhost. Its notes live as long as the process.
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = int(sys.argv[1])
TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
NOTHING = {"type": "object", "properties": {}}
TOOLS = {"write": TEXT, "read": NOTHING, "die": NOTHING}
notes: list[str] = []


def result(method: str, params: dict) -> dict | None:
    if method == "initialize":
        info = {"name": "tiny", "version": "1"}
        return {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}
    if method == "tools/list":
        return {"tools": [{"name": name, "description": name, "inputSchema": of} for name, of in TOOLS.items()]}
    if method == "tools/call":
        if params["name"] == "die":
            os.kill(1, 9) if os.getpid() != 1 else os._exit(7)
        if params["name"] == "write":
            notes.append(params["arguments"]["text"])
        said = f"{','.join(notes)} in {os.environ.get('WHERE', 'nowhere')}"
        return {"content": [{"type": "text", "text": said}], "isError": False}
    return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.headers["host"] != f"localhost:{PORT}":
            return self.say(403, {"error": f"only localhost:{PORT}"})
        if "id" not in asked:
            return self.say(202, None)
        found = result(asked["method"], asked.get("params", {}))
        error = {"code": -32601, "message": "no such method"}
        return self.say(
            200, {"jsonrpc": "2.0", "id": asked["id"], **({"result": found} if found else {"error": error})}
        )

    def do_GET(self) -> None:
        self.say(405, None)

    do_DELETE = do_GET

    def say(self, status: int, content: dict | None) -> None:
        data = json.dumps(content).encode() if content is not None else b""
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
