"""A connection to an MCP server: the transport that it speaks, and words for what goes wrong.

Measured: the SDK's client drops events above 1 MiB unless told otherwise, logs tracebacks when many close, and speaks of
a dead server in five ways, so callers hear SessionLost whatever it was.
"""

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from distill.records import credentials
from distill.records.loopback import LOOPBACK
from distill.tools.keeper import explain
from distill.tools.mcp_server import McpServer
from distill.tools.source import SessionLost

LARGEST_EVENT = 64 * 2**20
CONNECT_S = 60.0
SAID = 400


@asynccontextmanager
async def connected(server: McpServer, door: str | None = None) -> AsyncIterator[Any]:
    """A `mcp.Client` of the server; `door`: a Unix socket that leads to it. Raises SessionLost when it does not come about."""
    for name in ("mcp", "mcp.client.streamable_http", "mcp.client.sse", "mcp.client.stdio", "httpx2"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # they write tracebacks, and URLs with their secrets
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(CONNECT_S):
                if server.command is not None:
                    client = await _stdio(stack, server)
                else:
                    client = await _http(stack, server, door)
        except TimeoutError:
            raise _lost(server, f"it did not answer within {CONNECT_S:g} s") from None
        yield client


async def _stdio(stack: AsyncExitStack, server: McpServer) -> Any:
    from mcp.client.stdio import StdioServerParameters, stdio_client

    said = stack.enter_context(tempfile.TemporaryFile("w+", errors="replace"))  # noqa: SIM115 - the stack closes it
    parameters = StdioServerParameters(
        command=server.command or "",
        args=[credentials.expand(part) for part in server.args],
        env={name: credentials.expand(value) for name, value in server.env},
        encoding_error_handler="replace",
    )
    try:
        return await _entered(stack, stdio_client(parameters, errlog=said))
    except Exception as error:
        said.seek(0)
        words = " ".join(said.read()[-SAID:].split())
        raise _lost(server, f"{explain(error)}{': ' + words if words else ''}") from None


async def _http(stack: AsyncExitStack, server: McpServer, door: str | None) -> Any:
    from mcp.client.streamable_http import streamable_http_client

    target = server.target
    headers = {name: credentials.expand(value) for name, value in server.headers}
    error: Exception | None = None
    if not urlsplit(target).path.rstrip("/").endswith("/sse"):
        # Nothing is read while a tool works, so only the call's own time limit may end the wait.
        http = await stack.enter_async_context(_client(target, headers, door))
        try:
            return await _entered(
                stack, streamable_http_client(target, http_client=http, max_sse_event_size=LARGEST_EVENT)
            )
        except Exception as refused:
            error = refused
            if "ConnectError" in explain(refused):
                raise _lost(server, explain(refused)) from None
    try:
        return await _entered(stack, _sse(target, headers, door))
    except Exception as refused:
        raise _lost(server, explain(error or refused)) from None


def _sse(url: str, headers: dict[str, str], door: str | None) -> Any:
    from mcp.client.sse import sse_client

    def client(headers: dict[str, str] | None = None, timeout: Any = None, auth: Any = None) -> Any:
        return _client(url, headers or {}, door)

    return sse_client(url, headers=headers, httpx_client_factory=client)


def _client(url: str, headers: dict[str, str], door: str | None) -> Any:
    import httpx2

    here = urlsplit(url).hostname in LOOPBACK
    return httpx2.AsyncClient(
        headers=headers,
        timeout=httpx2.Timeout(CONNECT_S, read=None),
        transport=httpx2.AsyncHTTPTransport(uds=door) if door else None,
        follow_redirects=True,
        trust_env=not here,  # a proxy that the environment names does not lead to this machine
    )


async def _entered(stack: AsyncExitStack, transport: Any) -> Any:
    from mcp import Client

    return await stack.enter_async_context(Client(transport, read_timeout_seconds=None))


def _lost(server: McpServer, reason: str) -> SessionLost:
    return SessionLost(credentials.redact(f"MCP server '{server.name}' cannot be reached: {reason}"))
