"""llama.cpp's own OpenAI-compatible server, in this process, for as long as a `with` block lasts."""

import importlib
import os
import re
import secrets
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from distill.records.cores import cores, spin_little
from distill.records.faults import InputError

DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
READY_S = 120.0
"""Seconds a loaded model may take to answer /health."""

ERROR_LINE = re.compile(r"(?m)^[\d.]+ E \w+: (.*)$")
LOG_S = 5.0
MOST_SAID = 1 << 20


class Endpoint(NamedTuple):
    """Where a server listens, and the key without which it refuses."""

    base_url: str
    api_key: str


def load() -> ModuleType:
    """llama.cpp itself. Raises InputError where the machine lacks a library that it needs: slim images have no libgomp."""
    spin_little()
    try:
        return importlib.import_module("xllamacpp")
    except ImportError as error:
        advice = "; on Debian and Ubuntu: apt-get install libgomp1" if "libgomp" in str(error) else ""
        raise InputError(f"llama.cpp cannot be loaded: {error}{advice}") from None


@contextmanager
def serve(
    gguf: Path,
    *,
    slots: int,
    context: int,
    template: Path | None = None,
    adapters: Sequence[Path] = (),
    threads: int | None = None,
    port: int = 0,
    name: str | None = None,
    key: str | None = None,
) -> Iterator[Endpoint]:
    """Serves `gguf` on a loopback port, a free one unless `port` is given; the server stops when the block ends.

    `slots` requests are decoded at the same time, each with room for `context` tokens (prompt and answer). `template`
    replaces the chat template of the GGUF. Each of `adapters` is a LoRA in GGUF form, on unless a request says
    otherwise: one with `"lora": [{"id": 0, "scale": 0.0}]` in its body is answered by the base model, so one server
    is base and student. `threads`: default, the physical cores that this process may use. `name` is the model's in the list
    of models, which gives the file's path otherwise; requests may name any.
    The server asks for `key`, or a random one, so that other users of the machine are refused. Raises InputError, with what
    llama.cpp said, when it cannot load a file, and as `load`.
    """
    for path in (gguf, template, *adapters):
        if path is not None and not Path(path).is_file():
            raise InputError(f"{path}: there is no such file, so no model can be served")
    xllamacpp = load()
    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.n_parallel = slots
    params.n_ctx = slots * context
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.api_keys = [key or secrets.token_urlsafe(24)]
    params.cors_origins = ""
    params.ui = False
    params.endpoint_slots = False
    params.fit_params = False
    params.verbosity = -1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads or cores(physical=True)
    if template:
        params.chat_template = Path(template).read_text(encoding="utf-8")
    if name:
        params.model_alias = {name}
    if adapters:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(path), 1.0) for path in adapters]
    server = _start(xllamacpp, params)
    try:
        _wait(server.listening_address, params.api_keys[0])
        yield Endpoint(f"{server.listening_address}/v1", params.api_keys[0])
    finally:
        del server  # its destructor stops the threads and frees the model


def _start(xllamacpp: ModuleType, params: Any) -> Any:
    """llama.cpp's server. Raises InputError with what it said where it does not start."""
    try:
        return xllamacpp.Server(params)
    except RuntimeError:
        params.verbosity = 1
        with _stderr() as said:
            try:
                return xllamacpp.Server(params)
            except RuntimeError:
                reasons = _reasons(said)
        raise InputError(
            f"{params.model.path}: llama.cpp cannot serve it: " + ("; ".join(reasons[:3]) or "it gives no reason")
        ) from None


@contextmanager
def _stderr() -> Iterator[Callable[[], str]]:
    """Gives what native code has written to stderr inside of the block so far."""
    with tempfile.TemporaryFile() as caught:
        kept = os.dup(2)
        os.dup2(caught.fileno(), 2)
        try:
            yield lambda: os.pread(caught.fileno(), MOST_SAID, 0).decode("utf-8", "replace")
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _reasons(said: Callable[[], str]) -> list[str]:
    """The errors that were logged, each once; llama.cpp writes its log in a thread of its own, so they may be late."""
    give_up = time.monotonic() + LOG_S
    known, found = "", said()
    while (not ERROR_LINE.search(found) or found != known) and time.monotonic() < give_up:
        time.sleep(0.1)
        known, found = found, said()
    return list(dict.fromkeys(ERROR_LINE.findall(found)))


def healthy(address: str) -> bool:
    """Whether a server of this machine is ready; asked directly, whatever proxy the environment names."""
    try:
        with DIRECTLY.open(f"{address}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def _wait(address: str, key: str) -> None:
    """Returns once the server takes questions. It says that it is healthy a moment earlier, and one that is stopped in
    that moment never ends; its list of adapters comes from the loop that questions wait for."""
    asked = urllib.request.Request(f"{address}/lora-adapters", headers={"Authorization": f"Bearer {key}"})
    give_up = time.monotonic() + READY_S
    while time.monotonic() < give_up:
        if healthy(address):
            with DIRECTLY.open(asked, timeout=READY_S):
                return
        time.sleep(0.05)
    raise InputError(f"the embedded server at {address} was not ready after {READY_S:.0f} s")
