"""`make serve`: the trained student at an OpenAI-compatible endpoint of this machine, until Ctrl-C."""

import argparse
import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from distill.records import params
from distill.records.faults import InputError
from distill.student.endpoint import serving
from distill.student.in_process import InProcess
from distill.student.open_student import open_student
from distill.student.served import STUDENT, Served
from distill.teacher.errors import Fatal
from distill.teacher.gguf_model import CONTEXT_TOKENS, GgufModel
from distill.teacher.llama_server import Endpoint
from distill.teacher.llama_server import serve as serve_gguf

ADAPTER = Path("models/adapter")


@asynccontextmanager
async def endpoint(settings: dict[str, Any], port: int) -> AsyncIterator[Endpoint]:
    """The endpoint of the student that the parameters name, on a loopback port (0: a free one).

    Raises InputError where there is no adapter, and when the student is served elsewhere.
    """
    model = open_student(settings, ADAPTER)
    if isinstance(model, InProcess):
        async with serving(model, port) as served:
            yield served
    elif isinstance(model, GgufModel):
        assert model.adapter
        with serve_gguf(
            model.gguf,
            slots=model.slots,
            context=CONTEXT_TOKENS,
            template=model.template,
            adapters=[model.adapter],
            port=port,
        ) as served:
            yield served
    elif isinstance(model, Served):
        with model.start(port) as served:
            yield served


def curl(served: Endpoint) -> str:
    """A command that asks the student something."""
    body = json.dumps({"model": STUDENT, "messages": [{"role": "user", "content": "Hello"}]})
    return (
        f"curl {served.base_url}/chat/completions -H 'Authorization: Bearer {served.api_key}'"
        f" -H 'Content-Type: application/json' -d '{body}'"
    )


def _refuse_taken(port: int) -> None:
    """Raises InputError for a port that is none, or that is in use: llama.cpp gives no reason, and wraps numbers."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"port {port}: {error}; name another, or none to get a free one") from None


async def _serve(port: int) -> None:
    settings = params.load()
    if settings["runtime"]["student_url"]:
        raise InputError(f"runtime.student_url: the student is served at {settings['runtime']['student_url']} already")
    _refuse_taken(port)
    stop = asyncio.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    async with endpoint(settings, port) as served:
        print(f"{settings['student']['path']} with {ADAPTER}: {served.base_url} (Ctrl-C ends it)\n\n{curl(served)}\n")
        print(flush=True)
        await stop.wait()


def main() -> None:
    """Serves until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    try:
        asyncio.run(_serve(parser.parse_args().port))
    except (InputError, Fatal, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
