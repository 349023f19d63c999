"""One switch that stops a run: once it is set, no request is sent any more, and those in flight may still be answered."""

import asyncio
from collections.abc import Callable

from distill.teacher.errors import Fatal


class Halt:
    """`stop` sets the reason, once. Code that is about to send a request calls `check` first; code that waits uses `sleep`."""

    def __init__(self) -> None:
        self.reason: Fatal | None = None
        self._set = asyncio.Event()
        self._listeners: list[Callable[[], None]] = []

    def on_stop(self, listener: Callable[[], None]) -> None:
        """Calls `listener` when the run is stopped."""
        self._listeners.append(listener)

    def stop(self, reason: Fatal) -> None:
        """Stops the run; only the first reason counts."""
        if self.reason is None:
            self.reason = reason
            self._set.set()
            for listener in self._listeners:
                listener()

    def check(self) -> None:
        """Raises Fatal when the run has been stopped."""
        if self.reason:
            raise Fatal(self.reason.kind, self.reason.message, self.reason.http_status)

    async def wait(self) -> None:
        """Returns when the run is stopped."""
        await self._set.wait()

    async def sleep(self, seconds: float) -> None:
        """Sleeps; raises Fatal as soon as the run is stopped."""
        try:
            async with asyncio.timeout(seconds):
                await self._set.wait()
        except TimeoutError:
            return
        self.check()
