"""Memory and CPU of browsers side by side: python -m benchmarks.browser [N ...] (default 1 2 4 8).

N rollouts have a session each, in two ways: `process`, a server and a Chromium of their own (as the example has it), and
`context`, one server with one Chromium and a context for each. Every session looks at PAGES pages of the example.
"""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import yaml

from distill.tools import toolbox
from distill.tools.session import Session

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PAGES = ["LT-1042", "kestrel-trust", "trials", "LT-1150", "index"]


class Cost(NamedTuple):
    """What the tree of processes takes: MB of memory (PSS, so that shared pages count once) and seconds of CPU."""

    mb: float
    cpu_s: float


def cost() -> Cost:
    """Of everything that this process started and that lives."""
    kilobytes, seconds = 0, 0.0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error, OSError):
            times = process.cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
            kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return Cost(kilobytes / 1024, seconds)


async def measured(server: dict[str, Any], sessions: int) -> str:
    """One row of the table."""
    params = {
        "agent": {"tool_timeout_s": 120, "tool_output_chars": 20_000},
        "runtime": {"tool_sessions": sessions},
        "tools": {"mcp": {"browser": server}},
    }
    async with toolbox.opened(params, [{"source": "benchmark"}]) as box:
        before = cost()
        async with opened(box, sessions) as all_of_them:
            await asyncio.gather(*(look(session, "index") for session in all_of_them))
            ready = cost()
            begun = time.monotonic()
            for page in PAGES:
                await asyncio.gather(*(look(session, page) for session in all_of_them))
            taken = time.monotonic() - begun
            after = cost()
    looks = sessions * len(PAGES)
    return (
        f"| {sessions} | {after.mb:.0f} | {(ready.cpu_s - before.cpu_s) / sessions:.2f} "
        f"| {(after.cpu_s - ready.cpu_s) / looks:.2f} | {looks / taken:.1f} |"
    )


@asynccontextmanager
async def opened(box: toolbox.Toolbox, sessions: int) -> AsyncIterator[list[Session]]:
    contexts = [box.open({}) for _ in range(sessions)]
    entered = [await context.__aenter__() for context in contexts]
    try:
        yield entered
    finally:
        await asyncio.gather(*(context.__aexit__(None, None, None) for context in contexts))


async def look(session: Session, page: str) -> None:
    """Opens a page; the server's snapshot of it comes with it."""
    arguments = f'{{"url": "http://trials.example/{page}.html"}}'
    call = {"id": "c", "type": "function", "function": {"name": "browser_navigate", "arguments": arguments}}
    told = await session.call(call)
    if "Page URL" not in told.content:
        raise SystemExit(f"error: {page}: {told.content}")


def main(counts: list[int]) -> None:
    os.chdir(EXAMPLES)
    subprocess.run([sys.executable, "-m", "browser.server", "--install"], check=True)
    server = yaml.safe_load(Path("browser/settings.yaml").read_text())["tools"]["mcp"]["browser"]
    head = "| sessions | MB (PSS) | CPU s to open and see the first page | CPU s per page | pages/s |\n|---|---|---|---|---|"
    print(f"process\n{head}", flush=True)
    for count in counts:
        print(asyncio.run(measured(server, count)), flush=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = {key: server[key] for key in server if key not in ("command", "args")} | {"url": f"http://localhost:{port}"}
    print(f"context\n{head}", flush=True)
    for count in counts:
        with subprocess.Popen([sys.executable, "-m", "browser.server", "--port", str(port)]) as process:
            try:
                while socket.socket().connect_ex(("127.0.0.1", port)):
                    time.sleep(0.05)
                print(asyncio.run(measured(url, count)), flush=True)
            finally:
                process.terminate()


if __name__ == "__main__":
    main([int(count) for count in sys.argv[1:]] or [1, 2, 4, 8])
