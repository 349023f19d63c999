"""Connects to an MCP server, with whichever transport it speaks, and turns every failure into SessionLost.

Measured: the SDK's client drops events above 1 MiB unless told otherwise, reads anything else to its end (mcp_bounds.py),
logs tracebacks when many connections close, and reports a dead server in five different ways.
"""

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from distill.machine.loopback import LOOPBACK
from distill.project import credentials
from distill.tools.mcp.mcp_server import McpServer
from distill.tools.resource import explain
from distill.tools.source import SessionLost

CONNECT_S = 60.0
STDERR_CHARS = 400
"""Characters of a server's standard error that a message shows: the last ones."""


@asynccontextmanager
async def connected(server: McpServer, socket_path: str | None = None) -> AsyncIterator[Any]:
    """A `mcp.Client` of the server, through the Unix socket `socket_path` if given. Raises SessionLost when it fails."""
    from distill.tools.mcp.mcp_messages import accept_half_characters

    accept_half_characters()
    for name in ("mcp", "mcp.client.streamable_http", "mcp.client.sse", "mcp.client.stdio", "httpx2"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # they log tracebacks, and URLs with their secrets
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(CONNECT_S):
                if server.command is not None:
                    client = await _stdio(stack, server)
                else:
                    client = await _http(stack, server, socket_path)
        except TimeoutError:
            raise _lost(server, f"it did not answer within {CONNECT_S:g} s") from None
        yield client


async def _stdio(stack: AsyncExitStack, server: McpServer) -> Any:
    from mcp.client import stdio

    from distill.tools.mcp.mcp_bounds import Lines

    stdio.TextReceiveStream = Lines  # type: ignore[misc]  # the SDK has no other place for it
    stderr = stack.enter_context(tempfile.TemporaryFile("w+", errors="replace"))  # noqa: SIM115 - the stack closes it
    parameters = stdio.StdioServerParameters(
        command=server.command or "",
        args=[credentials.expand(part) for part in server.args],
        env={name: credentials.expand(value) for name, value in server.env.items()},
        encoding_error_handler="replace",
    )
    try:
        return await _entered(stack, stdio.stdio_client(parameters, errlog=stderr))
    except Exception as error:
        stderr.seek(0)
        words = " ".join(stderr.read()[-STDERR_CHARS:].split())
        raise _lost(server, f"{explain(error)}{': ' + words if words else ''}") from None


async def _http(stack: AsyncExitStack, server: McpServer, socket_path: str | None) -> Any:
    from mcp.client import sse
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import sse_within_origin

    from distill.tools.mcp.mcp_bounds import LARGEST

    # Its own limit, of 1 MiB, cannot be set otherwise; beyond that the session is lost.
    sse.sse_within_origin = partial(sse_within_origin, max_event_size=LARGEST)
    target = server.target
    headers = {name: credentials.expand(value) for name, value in server.headers.items()}
    error: Exception | None = None
    refusals: dict[str, None] = {}
    client = partial(_client, target, socket_path, refusals)
    if not urlsplit(target).path.rstrip("/").endswith("/sse"):
        # No read timeout: nothing arrives while a tool works, and the call has a time limit of its own.
        http = await stack.enter_async_context(client(headers=headers))
        try:
            return await _entered(stack, streamable_http_client(target, http_client=http, max_sse_event_size=LARGEST))
        except Exception as refused:
            error = refused
            if "ConnectError" in explain(refused):
                raise _lost(server, explain(refused)) from None
    try:
        return await _entered(stack, sse.sse_client(target, headers=headers, httpx_client_factory=client))
    except Exception as refused:
        said = f" ({', '.join(refusals)} at {server.url})" if refusals else ""
        raise _lost(server, f"{explain(error or refused)}{said}") from None


def _client(url: str, socket_path: str | None, refusals: dict[str, None], headers: Any, **_: Any) -> Any:
    """A client of the server, with our limits, whatever the SDK's are. `refusals` gets the status of every answer that is an
    error, which the SDK does not tell."""
    import httpx2

    from distill.tools.mcp.mcp_bounds import Content

    async def note(response: httpx2.Response) -> None:
        if not response.headers.get("content-type", "").startswith("text/event-stream"):  # its events have a limit each
            response.stream = Content(response.stream)
        if response.is_error:
            refusals[f"HTTP {response.status_code} {response.reason_phrase}".rstrip()] = None

    on_loopback = urlsplit(url).hostname in LOOPBACK
    return httpx2.AsyncClient(
        headers=headers,
        timeout=httpx2.Timeout(CONNECT_S, read=None),
        transport=httpx2.AsyncHTTPTransport(uds=socket_path) if socket_path else None,
        follow_redirects=True,
        event_hooks={"response": [note]},
        trust_env=not on_loopback,  # a proxy from the environment does not lead to this machine
    )


async def _entered(stack: AsyncExitStack, transport: Any) -> Any:
    from mcp import Client

    return await stack.enter_async_context(Client(transport, read_timeout_seconds=None))


def _lost(server: McpServer, reason: str) -> SessionLost:
    return SessionLost(f"MCP server '{server.name}' cannot be reached: {reason}")
