"""Bounds on what an MCP server says at once. The SDK reads lines and responses of any length, and joins the pieces of a line
in quadratic time: ten megabytes took eleven seconds, in which hardly anything else ran.

It imports the SDK's libraries, so it is imported where a server is connected.
"""

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2
from anyio.streams.text import TextReceiveStream

LARGEST = 64 * 2**20
"""Bytes of one message; of a program's standard output, characters."""
TOO_LARGE = f"the server said more than {LARGEST >> 20} MB at once"
ID = re.compile(r'"jsonrpc": ?"2\.0", ?"id": ?(\d+|"[^"\\]*")')
ID_WITHIN = 200
"""Characters at the beginning and the end of a message: in one of them is the id of what it answers."""


class Lines(TextReceiveStream):
    """What a program writes, in whole lines. In place of one that is too long comes an error."""

    _rest = ""

    async def receive(self) -> str:
        """The next whole line, or several. Raises EndOfStream."""
        pieces = [self._rest]
        size = len(self._rest)
        while "\n" not in pieces[-1]:
            pieces.append(await super().receive())
            size += len(pieces[-1])
            if size > LARGEST:
                del pieces[2:-2]
        lines, _, self._rest = "".join(pieces).rpartition("\n")
        if size > LARGEST:
            first, *others = lines.split("\n")
            lines = "\n".join([_refused(first), *others])
        return f"{lines}\n"


def _refused(line: str) -> str:
    """The error that answers in place of a line; empty where the line does not say what it answers."""
    found = ID.search(line[:ID_WITHIN]) or ID.search(line[-ID_WITHIN:])
    error = f'"error":{{"code":-32603,"message":"{TOO_LARGE}"}}'
    return f'{{"jsonrpc":"2.0","id":{found[1]},{error}}}' if found else ""


class Content(httpx2.AsyncByteStream):
    """The content of a response. Raises StreamError, of which the SDK makes the answer, when it is too long."""

    def __init__(self, stream: Any):
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for piece in self._stream:
            size += len(piece)
            if size > LARGEST:
                raise httpx2.StreamError(TOO_LARGE)
            yield piece

    async def aclose(self) -> None:
        """Closes the response."""
        await self._stream.aclose()
