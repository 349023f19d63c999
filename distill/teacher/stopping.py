"""Stops a run that spends money: at Ctrl-C, SIGTERM, a closed terminal, or the end of the process that started it.

When DVC is killed, its stage keeps running; without this it would go on buying while the next run does the same.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from distill.project.terminal import mute, say
from distill.teacher.errors import Fatal
from distill.teacher.halt import Halt

PARENT_POLL_S = 0.5
"""How often to look whether the process that started this one still runs."""
SHELLS = {"sh", "dash", "bash", "zsh", "fish", "ksh", "busybox"}


@asynccontextmanager
async def stopping(halt: Halt) -> AsyncIterator[None]:
    """While the block runs, a first signal stops the run through `halt` and a second one ends the process at once. The end
    of the process that started this one stops the run, too."""
    loop = asyncio.get_running_loop()
    signals = [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]  # nohup ignores SIGHUP, and means it

    def stop(number: signal.Signals) -> None:
        for handled in signals:
            loop.remove_signal_handler(handled)
        halt.stop(Fatal("interrupted", f"stopped by {number.name}"))
        try:
            say(f"{number.name}: what is already asked for still arrives and is kept; again to give it up")
        except OSError:  # Ctrl-C has ended `| tee`, too, or the terminal is closed
            mute()

    for number in signals:
        loop.add_signal_handler(number, stop, number)
    watcher = asyncio.create_task(_watch_parents(halt))
    try:
        yield
    finally:
        watcher.cancel()
        for number in signals:
            loop.remove_signal_handler(number)


async def _watch_parents(halt: Halt) -> None:
    parents = _parents()
    while _parents() == parents:  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(PARENT_POLL_S)
    halt.stop(Fatal("orphaned", "the process that started this run is gone"))


def _parents() -> tuple[int, ...]:
    """The id of the parent process; if that is the shell in which DVC runs a command, also the id of its parent, DVC."""
    parent = os.getppid()
    try:
        # /proc/<pid>/stat: pid (name) state ppid …; a name may hold spaces and brackets.
        name, rest = Path(f"/proc/{parent}/stat").read_text().rsplit(")", 1)
    except OSError:
        return (parent,)
    if name.split("(", 1)[1] in SHELLS and "DVC_STAGE" in os.environ:
        return (parent, int(rest.split()[1]))
    return (parent,)
