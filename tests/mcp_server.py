"""A real MCP server with tools that behave and tools that do not: `python mcp_server.py stdio|http|sse PORT`.

`$STARTED` names a file that gets a line from each process.
`$CHANGED` names a file: while it exists, the tool `plus` is gone. `$SECRET_FOR_SERVER` is what `whisper` says.
"""

import asyncio
import base64
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

from mcp import MCPError
from mcp.server.mcpserver import Context, MCPServer
from mcp.types import ImageContent, ToolAnnotations
from pydantic import Field

PIXEL = base64.b64encode(b"\x89PNG not really").decode()
server = MCPServer("test")
notes: list[str] = []


def plus(a: Annotated[int, Field(description="first number")], b: int = 1) -> int:
    """Adds."""
    return a + b


server.add_tool(plus, annotations=ToolAnnotations(read_only_hint=True))


@server.tool()
def write(text: str) -> str:
    """Writes a note."""
    notes.append(text)
    return f"written\nat: 12:00:{len(notes):02d}"


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def read() -> str:
    """Reads all notes of this process."""
    return ",".join(notes) or "nothing"


@server.tool()
def picture(data: str = PIXEL) -> ImageContent:
    """Draws."""
    return ImageContent(type="image", data=data, mime_type="image/png")


@server.tool()
async def sleep(seconds: float) -> str:
    """Sleeps."""
    await asyncio.sleep(seconds)
    return "slept"


@server.tool()
def freeze() -> str:
    """Stops the server in the middle of what it does."""
    os.kill(os.getpid(), signal.SIGSTOP)
    return "it goes on"


@server.tool()
def die() -> str:
    """Ends the server."""
    os._exit(7)


@server.tool()
def long(megabytes: int) -> str:
    """Says a lot."""
    return "x" * (megabytes * 2**20)


@server.tool()
def rubbish() -> str:
    """Writes to standard output what is no message."""
    os.write(1, b"this is no JSON\n\xff\xfe\n")
    return "done"


@server.tool()
def fail() -> str:
    """Fails."""
    raise ValueError("\x1b[31mno luck\x1b[0m")


@server.tool()
def refuse(code: int) -> str:
    """Answers with an error of the protocol."""
    raise MCPError(code, "row 7 is locked")


@server.tool()
def break_page() -> str:
    """Makes the next `look` fail."""
    notes.append("broken")
    return "broken"


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def look() -> str:
    """Shows the page."""
    if "broken" in notes:
        raise ValueError("no page")
    return "a page"


@server.tool()
def whisper() -> str:
    """Says its secret."""
    return os.environ.get("SECRET_FOR_SERVER", "none")


@server.tool()
def pid() -> str:
    """Says which process it is."""
    return str(os.getpid())


@server.tool()
async def forget(ctx: Context) -> str:
    """Takes `plus` away."""
    server.remove_tool("plus")
    return "gone"


if __name__ == "__main__":
    if os.environ.get("STARTED"):
        with open(os.environ["STARTED"], "a") as file:
            file.write(f"{os.getpid()}\n")
    kind, port = sys.argv[1], int((sys.argv[2:] or ["0"])[0])
    if Path(os.environ.get("CHANGED", "/nowhere")).exists():
        server.remove_tool("plus")
    if kind == "stdio":
        server.run("stdio")
    else:
        server.run("streamable-http" if kind == "http" else "sse", host="127.0.0.1", port=port)
