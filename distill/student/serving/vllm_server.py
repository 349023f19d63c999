"""Runs vLLM as a child process: base and adapter as two models, with the template of the training."""

import json
import math
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from distill.project.terminal import say
from distill.records.faults import InputError
from distill.student import base_weights
from distill.student.serving.remote import STUDENT, key_to_ask_for
from distill.student.serving.reply import SHOWN_CALL, calling_turn, rendered_turn
from distill.student.tokenizer import Tokenizer
from distill.teacher.embedded.llama_server import Endpoint, healthy
from distill.teacher.errors import Fatal

READY_S = 1800.0
"""Seconds that vLLM may take to load a large model and compile."""
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The values of vLLM's --max-lora-rank."""
PARSERS = {
    r'<tool_call>\s*\{\s*"name"': "hermes",
    r"<tool_call>\s*<function=": "qwen3_coder",
    r"<\|tool_call>call:": "gemma4",
    r"<\|tool_call_start\|>": "lfm2",
    r'^\s*\{\s*"name".*"parameters"': "llama3_json",
}
"""How a call looks in the rendered text, and vLLM's parser for it."""
THOUGHTS = {"</think>": "qwen3", "<channel|>": "gemma4"}
"""What ends a thought in the rendered text, and vLLM's parser for it."""
NO_THOUGHT_IS_ANSWER = {"gemma4"}
"""Parsers to which a turn without that end is an answer. To the others it is an unfinished thought, so they fit only
templates that write it in every turn."""
MOST = 0.92
"""The share of a card's memory that vLLM takes by itself."""
BESIDE, WORKING = 2**30, 3 * 2**30
"""Bytes of a card that vLLM takes beyond its share, and of its share beside the weights."""
LAST_WORDS = 30
"""Lines of vLLM's output that are shown when it ends."""


def cuda() -> bool:
    """Whether there is a CUDA device."""
    import torch

    return torch.cuda.is_available()


def call_parser(tokenizer: Tokenizer) -> str | None:
    """vLLM's parser for the calls that a tokenizer's template writes; None where it has none."""
    turn = calling_turn(tokenizer, SHOWN_CALL)
    return next((name for pattern, name in PARSERS.items() if re.search(pattern, turn, re.DOTALL)), None)


def arguments(base: Path, name: str, adapter: Path, tokenizer: Tokenizer, temperature: float) -> list[str]:
    """The command `vllm serve` for the base in a folder, served as `name`, with an adapter and its tokenizer, without host
    and port. vLLM must have a parser for its calls. `temperature` is that of requests that name none.
    """
    parser = call_parser(tokenizer)
    assert parser
    turn, thoughtless = (rendered_turn(tokenizer, SHOWN_CALL | more) for more in ({"reasoning_content": "?"}, {}))
    thinking = [
        word
        for end, name in THOUGHTS.items()
        if end in (turn if name in NO_THOUGHT_IS_ANSWER else thoughtless)
        for word in ("--reasoning-parser", name)
    ]
    rank = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))["r"]
    return [
        "vllm", "serve", str(base), "--served-model-name", name,
        "--max-model-len", "-1",  # as much of the base's context as the memory holds; else vLLM refuses a small card
        "--generation-config", "vllm",  # not the base's own, which may have a repetition penalty
        "--override-generation-config", json.dumps({"temperature": temperature}),  # vLLM's is 1
        "--enable-lora", "--lora-modules", f"{STUDENT}={adapter}",
        "--max-lora-rank", str(next(allowed for allowed in RANKS if allowed >= rank)),
        "--chat-template", str(adapter / "chat_template.jinja"),
        "--chat-template-content-format", "string",  # Gemma 4's template renders a list of texts in another way than one text
        "--enable-auto-tool-choice", "--tool-call-parser", parser, *thinking,
    ]  # fmt: skip


def cards(base: Path) -> list[str]:
    """What `vllm serve` is told about this machine's cards: the share of their memory that is free, since it ends where MOST
    is not, and among how many to split the base in a folder: the first that hold it, else those with the most room.

    Raises InputError where the first card has no room at all.
    """
    import torch

    memory = [torch.cuda.mem_get_info(card) for card in range(torch.cuda.device_count())]
    shares = [min(MOST, (free - BESIDE) / total) for free, total in memory]
    weights = sum(file.stat().st_size for file in base.glob("*.safetensors"))
    smallest = min(total for _, total in memory)
    room = {count: count * min(shares[:count]) * smallest for count in _counts(base, len(memory))}
    enough = [count for count in room if weights + count * WORKING <= room[count]]
    count = min(enough) if enough else max(room, key=lambda count: room[count])
    share = math.floor(min(shares[:count]) * 100) / 100
    if share <= 0:
        free, total = (size / 2**30 for size in memory[0])
        raise InputError(
            f"{free:.1f} of {total:.1f} GB are free on the first card: end what else computes there, or name another in"
            " CUDA_VISIBLE_DEVICES"
        )
    return ["--gpu-memory-utilization", f"{share:.2f}", "--tensor-parallel-size", str(count)]


def _counts(base: Path, most: int) -> list[int]:
    """Among how many of `most` cards vLLM can split the base in a folder. Layers are as wide as powers of two divide, seldom
    as other numbers do; a key is split from its queries by none."""
    text = base_weights.config(base).get_text_config()
    heads = text.num_attention_heads
    keys = getattr(text, "num_key_value_heads", None) or heads
    powers = [2**n for n in range(most.bit_length()) if 2**n <= most]
    return [count for count in powers if heads % count == 0 and max(keys, count) % min(keys, count) == 0]


@contextmanager
def started(command: list[str], port: int, stop: threading.Event) -> Iterator[Endpoint]:
    """The endpoint of a `vllm serve` command, on a loopback port (0: a free one); the process ends with the block.

    Raises Fatal, with the end of vLLM's output, when it ends before it is ready, or when `stop` is set by then. When it
    ends later, requests fail, and the end of its output is printed.
    """
    port, key = port or _free_port(), key_to_ask_for()
    address = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env={**os.environ, "VLLM_API_KEY": key},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait(process, address, log, stop)
            yield Endpoint(f"{address}/v1", key)
            if process.poll() is not None:
                say(_last_words(process, log))
        finally:
            _stop(process)


def _wait(process: subprocess.Popen[bytes], address: str, log: IO[bytes], stop: threading.Event) -> None:
    give_up = time.monotonic() + READY_S
    while time.monotonic() < give_up:
        if process.poll() is not None:
            raise Fatal("embedded_server", _last_words(process, log))
        if healthy(address):
            return
        if stop.wait(0.1):
            raise Fatal("interrupted", "stopped while vllm was starting")
    raise Fatal("embedded_server", f"vllm was not ready after {READY_S:.0f} s")


def _last_words(process: subprocess.Popen[bytes], log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode("utf-8", "replace").splitlines()[-LAST_WORDS:]
    return "\n".join([f"vllm ended with {process.returncode}:", *lines])


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the process and the engine processes that it started, which are its session."""
    for strength, patience in ((signal.SIGTERM, 30.0), (signal.SIGKILL, 30.0)):
        try:
            os.killpg(process.pid, strength)
            process.wait(patience)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]
