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

from distill.machine.cores import cores, spin_little
from distill.records.faults import InputError

NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens URLs of this machine directly, whatever proxy the environment names."""
READY_S = 120.0
"""Seconds a loaded model may take to answer /health."""

ERROR_LINE = re.compile(r"(?m)^[\d.]+ E \w+: (.*)$")
LOG_WAIT_S = 5.0
"""How long the log may take to show why the server has not started."""
LOG_BYTES = 1 << 20
"""The part of the log that is read."""


class Endpoint(NamedTuple):
    """Where a server listens, and the key that it demands."""

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
) -> Iterator[Endpoint]:
    """Serves `gguf` on a free loopback port; the server stops when the block ends.

    `slots` requests are decoded at the same time, each with room for `context` tokens (prompt and answer). `template`
    replaces the chat template of the GGUF. Each of `adapters` is a LoRA in GGUF form, on unless a request says
    otherwise: one with `"lora": [{"id": 0, "scale": 0.0}]` in its body is answered by the base model, so one server is
    base and student. The server demands a random key, so that it refuses other users of the machine. Raises InputError,
    with llama.cpp's message, when it cannot load a file, and as `load`.
    """
    xllamacpp = load()
    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.n_parallel = slots
    params.n_ctx = slots * context
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [secrets.token_urlsafe(24)]
    params.cors_origins = ""
    params.ui = False
    params.endpoint_slots = False
    params.fit_params = False
    params.verbosity = -1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = cores(physical=True)
    if template:
        params.chat_template = Path(template).read_text(encoding="utf-8")
    if adapters:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(path), 1.0) for path in adapters]
    server = _start(xllamacpp, params)
    try:
        _wait_until_ready(server.listening_address, params.api_keys[0])
        yield Endpoint(f"{server.listening_address}/v1", params.api_keys[0])
    finally:
        del server  # its destructor stops the threads and frees the model


def _start(xllamacpp: ModuleType, params: Any) -> Any:
    """llama.cpp's server. Raises InputError with what it said where it does not start."""
    try:
        return xllamacpp.Server(params)
    except RuntimeError:
        params.verbosity = 1
        with _captured_stderr() as read_log:
            try:
                return xllamacpp.Server(params)
            except RuntimeError:
                reasons = _reasons(read_log)
        raise InputError(
            f"{params.model.path}: llama.cpp cannot serve it: " + ("; ".join(reasons[:3]) or "it gives no reason")
        ) from None


@contextmanager
def _captured_stderr() -> Iterator[Callable[[], str]]:
    """Captures stderr, also that of native code, during the block; gives a function that reads what there is so far."""
    with tempfile.TemporaryFile() as captured:
        stderr = os.dup(2)
        os.dup2(captured.fileno(), 2)
        try:
            yield lambda: os.pread(captured.fileno(), LOG_BYTES, 0).decode("utf-8", "replace")
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _reasons(read_log: Callable[[], str]) -> list[str]:
    """The errors in the log, each once. llama.cpp writes its log in a thread of its own, so they may be late."""
    give_up_at = time.monotonic() + LOG_WAIT_S
    previous, log = "", read_log()
    while (not ERROR_LINE.search(log) or log != previous) and time.monotonic() < give_up_at:
        time.sleep(0.1)
        previous, log = log, read_log()
    return list(dict.fromkeys(ERROR_LINE.findall(log)))


def healthy(address: str) -> bool:
    """Whether a server of this machine says that it is ready."""
    try:
        with NO_PROXY.open(f"{address}/health", timeout=5) as response:
            return response.status == 200
    except OSError:
        return False


def _wait_until_ready(address: str, key: str) -> None:
    """Returns once the server answers requests. It is healthy a moment before that, and if it is stopped in that moment it
    never ends. Its list of adapters comes from the same loop as its answers, so it shows when that loop runs."""
    adapters = urllib.request.Request(f"{address}/lora-adapters", headers={"Authorization": f"Bearer {key}"})
    give_up_at = time.monotonic() + READY_S
    while time.monotonic() < give_up_at:
        if healthy(address):
            with NO_PROXY.open(adapters, timeout=READY_S):
                return
        time.sleep(0.05)
    raise InputError(f"the embedded server at {address} was not ready after {READY_S:.0f} s")
