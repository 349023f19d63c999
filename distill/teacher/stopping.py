"""When to stop a run that spends money: Ctrl-C, SIGTERM, a closed terminal, or the end of the process that started it.

DVC that is killed leaves its stage behind; without this it would go on buying beside the next run.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from distill.records.terminal import say
from distill.teacher.errors import Fatal
from distill.teacher.halt import Halt

LOOK_S = 0.5
SHELLS = {"sh", "dash", "bash", "zsh", "fish", "ksh", "busybox"}


@asynccontextmanager
async def stopping(halt: Halt) -> AsyncIterator[None]:
    """While the block runs, a first signal stops the run through `halt` and a second one ends it at once; so does the
    death of whoever started us.
    """
    loop = asyncio.get_running_loop()
    signals = [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]  # nohup ignores SIGHUP, and means it

    def stop(number: signal.Signals) -> None:
        for known in signals:
            loop.remove_signal_handler(known)
        say(f"{number.name}: what is already asked for still arrives and is kept; again to give it up")
        halt.stop(Fatal("interrupted", f"stopped by {number.name}"))

    for number in signals:
        loop.add_signal_handler(number, stop, number)
    watching = asyncio.create_task(_watch(halt))
    try:
        yield
    finally:
        watching.cancel()
        for number in signals:
            loop.remove_signal_handler(number)


async def _watch(halt: Halt) -> None:
    started_by = _starters()
    while _starters() == started_by:  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(LOOK_S)
    halt.stop(Fatal("orphaned", "the process that started this run is gone"))


def _starters() -> tuple[int, ...]:
    """The parent's id; when that is the shell in which DVC runs a command, also its parent's."""
    parent = os.getppid()
    try:
        # /proc/<pid>/stat: pid (name) state ppid …; a name may hold spaces and brackets.
        name, rest = Path(f"/proc/{parent}/stat").read_text().rsplit(")", 1)
    except OSError:
        return (parent,)
    if name.split("(", 1)[1] in SHELLS and "DVC_STAGE" in os.environ:
        return (parent, int(rest.split()[1]))
    return (parent,)
