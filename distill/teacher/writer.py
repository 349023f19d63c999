"""Writes files in a process of its own, so that the event loop is not blocked.

A thread would pass the interpreter's lock to the loop and back at every system call: with 512 rollouts in flight that took
three tenths of all time (benchmarks/README.md).
"""

import asyncio
import os
import subprocess
import sys
from collections import deque
from contextlib import suppress
from typing import Any

from distill.teacher import writer_process
from distill.teacher.writer_process import HEAD, REPLY


class WriterLost(Exception):
    """The process has ended, and the file may not be on disk."""


class Writer(asyncio.SubprocessProtocol):
    """The process, for one event loop. It starts at once; `write` waits for that."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.lost = False
        self._starting = self.loop.create_task(self._start())
        self._waiting: deque[tuple[asyncio.Future[None], str]] = deque()
        self._replies = bytearray()

    async def write(self, path: str, content: bytes) -> None:
        """Returns when the file has its name and is on disk. Raises OSError when it cannot be written, and WriterLost."""
        try:
            transport = self._starting.result() if self._starting.done() else await asyncio.shield(self._starting)
        except OSError:  # no more processes, or memory
            self.lost = True
        if self.lost:
            raise WriterLost
        name = os.fsencode(path)
        done: asyncio.Future[None] = self.loop.create_future()
        self._waiting.append((done, path))
        transport.get_pipe_transport(0).write(b"".join((HEAD.pack(len(name), len(content)), name, content)))
        await done

    async def close(self) -> None:
        """Ends the process, after its last file."""
        if self.lost:
            return
        with suppress(OSError):  # it never started
            transport = await self._starting
            transport.get_pipe_transport(0).close()
            await self._ended

    async def _start(self) -> Any:
        self._ended: asyncio.Future[None] = self.loop.create_future()
        command = [sys.executable, "-I", "-S", writer_process.__file__]
        transport, _ = await self.loop.subprocess_exec(
            lambda: self,
            *command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that Ctrl-C does not reach it; it ends when its input ends
        )
        return transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Resolves the writes that the process has replied to."""
        self._replies += data
        complete = len(self._replies) // REPLY.size * REPLY.size
        for (code,) in REPLY.iter_unpack(bytes(self._replies[:complete])):
            done, path = self._waiting.popleft()
            if done.done():  # nobody waits for it any more
                continue
            if code:
                done.set_exception(OSError(code, os.strerror(code), path))
            else:
                done.set_result(None)
        del self._replies[:complete]

    def process_exited(self) -> None:
        """Raises WriterLost in all writes that still wait."""
        self.lost = True
        for done, _ in self._waiting:
            if not done.done():
                done.set_exception(WriterLost())
        self._waiting.clear()
        if not self._ended.done():
            self._ended.set_result(None)
