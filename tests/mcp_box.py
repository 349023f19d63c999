"""A toolbox of MCP servers that are real ones, and what is said in it: what several test files stand on."""

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from distill.tools import toolbox
from distill.tools.mcp.tool_lists import ToolLists
from distill.tools.session import ToolResult

__all__ = ["http", "listed", "no_other_tools"]

SERVER = str(Path(__file__).parent / "mcp_server.py")
STDIO = {"command": sys.executable, "args": [SERVER, "stdio"]}
SECRET = "very-secret-value/+1"


@pytest.fixture(autouse=True)
def no_other_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@contextmanager
def listening(kind: str, port: int = 0) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """The test server on a port, 0 for a free one: its address, and its process."""
    if not port:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, SERVER, kind, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 300
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert process.poll() is None and time.monotonic() < end, "the test server did not start"
            time.sleep(0.02)
        yield f"localhost:{port}", process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def http() -> Iterator[str]:
    with listening("http") as (address, _):
        yield address


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> ToolLists:
    """Remembers what STDIO lists as server `s`, so that only the first test of a file starts it for that alone."""
    return ToolLists(tmp_path_factory.mktemp("lists"), "v1")


def params(timeout_s: float = 30, mcp_url: Any = None, **mcp: Any) -> dict[str, Any]:
    return {
        "agent": {"tool_timeout_s": timeout_s, "tool_output_chars": 1000},
        "runtime": {"tool_sessions": 4},
        "tools": {"mcp": mcp},
        "mcp_url": mcp_url,
    }


def with_tools(settings: dict[str, Any], work: Callable[[toolbox.Toolbox], Any], lists: ToolLists | None = None) -> Any:
    async def run() -> Any:
        async with toolbox.opened(settings, [{"source": "seed:1"}], lists) as box:
            return await work(box)

    return asyncio.run(run())


async def says(box: toolbox.Toolbox, *calls: tuple[str, dict[str, Any]]) -> list[str]:
    async with box.open({}) as session:
        return [(await one(session, name, arguments)).content for name, arguments in calls]


async def one(session: Any, name: str, arguments: dict[str, Any]) -> ToolResult:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return await session.call({"id": "c", "type": "function", "function": function})
