"""`make serve`: serves the trained student at an OpenAI-compatible endpoint of this machine, until Ctrl-C."""

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

from distill.project import credentials, params
from distill.project.terminal import plain
from distill.records.faults import InputError
from distill.student.serving.endpoint import serving
from distill.student.serving.in_process import InProcess
from distill.student.serving.open_student import open_student
from distill.student.serving.remote import KEY, STUDENT, Served
from distill.teacher.embedded.llama_server import Endpoint
from distill.teacher.errors import Fatal
from distill.teacher.model import Model

ADAPTER = Path("models/adapter")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@asynccontextmanager
async def endpoint(model: Model, port: int) -> AsyncIterator[Endpoint]:
    """Serves a student that `open_student` has opened, on a loopback port (0: a free one), until the block ends.

    Raises InputError, or Fatal, where it cannot be served.
    """
    if isinstance(model, InProcess):
        async with serving(model, port) as served:
            yield served
    elif isinstance(model, Served):
        with model.start(port, threading.Event()) as served:
            yield served


def curl(served: Endpoint) -> str:
    """A curl command that sends the student a message. Names the variable instead of a key of the user's own."""
    key = f"${KEY}" if credentials.get(KEY) else served.api_key
    body = json.dumps({"model": STUDENT, "messages": [{"role": "user", "content": "Hello"}]})
    return (
        f'curl {served.base_url}/chat/completions -H "Authorization: Bearer {key}"'
        f" -H 'Content-Type: application/json' -d '{body}'"
    )


def _check_port(port: int) -> None:
    """Raises InputError for a number that is no port, or a port in use: llama.cpp gives no reason, and wraps numbers."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"port {port}: {error}; name another, or none to get a free one") from None


async def _serve(port: int) -> None:
    settings = params.load()
    if url := settings["runtime"]["student_url"]:
        raise InputError(f"params.yaml: /runtime/student_url: the student is served at {url} already")
    _check_port(port)
    model = open_student(settings, ADAPTER, slots=settings["runtime"]["concurrency"])
    in_this_process = not isinstance(model, Served)  # vLLM is a process of its own, which has to be ended, too
    for number in SIGNALS:  # Python handles no signal while llama.cpp loads
        signal.signal(number, signal.SIG_DFL if in_this_process else _interrupt)
    async with endpoint(model, port) as served:
        stop = asyncio.Event()
        for number in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, _exit if in_this_process else stop.set)
        print(f"{settings['student']['path']} with {ADAPTER}: {served.base_url} (Ctrl-C ends it)\n\n{curl(served)}\n")
        print(flush=True)
        await stop.wait()


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _exit() -> NoReturn:
    """Ends this process without waiting for its threads: nobody needs the answers that they compute."""
    print("ended", flush=True)
    os._exit(0)


def main() -> None:
    """Serves until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    try:
        asyncio.run(_serve(parser.parse_args().port))
    except (InputError, Fatal, OSError) as error:
        sys.exit(f"error: {plain(str(error))}")
    except KeyboardInterrupt:
        pass
    print("ended")


if __name__ == "__main__":
    main()
