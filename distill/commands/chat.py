"""`make chat`: talk to the trained student, with the project's tools; one line of input is one message."""

import argparse
import asyncio
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from distill.project import params
from distill.project.terminal import lenient, plain
from distill.records import jsonl
from distill.records.faults import InputError
from distill.records.types import Message, Params, Prompt
from distill.student.serving.converse import converse
from distill.student.serving.open_student import open_student, sampling
from distill.teacher.errors import Fatal
from distill.tools import toolbox
from distill.tools.python import python_source

ADAPTER = Path("models/adapter")
PROMPTS = Path("data/prompts.jsonl")


def usual_system(prompts: list[Prompt]) -> list[Message]:
    """The most frequent system message of the project's prompts, which the student is used to; empty if that is none."""
    firsts = [prompt["messages"][0] for prompt in prompts]
    counts = Counter(first["content"] if first["role"] == "system" else "" for first in firsts)
    text = counts.most_common(1)[0][0] if counts else ""
    return [{"role": "system", "content": text}] if text else []


def usual_sandbox(prompts: list[Prompt], needed: bool) -> dict[str, Any]:
    """The `docker…` fields of most of the project's prompts; where a sandbox is needed, of most that have one."""
    counts = Counter(prompt.get("docker") for prompt in prompts if prompt.get("docker") or not needed)
    usual = counts.most_common(1)[0][0] if counts else None
    first = next((prompt for prompt in prompts if usual and prompt.get("docker") == usual), {})
    return {key: value for key, value in first.items() if key.startswith("docker")}


async def chat(settings: Params, base: bool) -> None:
    """Reads lines until the input ends; prints calls, results and answers. `base`: the student before training.

    All lines are one conversation, and one session of the tools.
    """
    task = asyncio.current_task()
    assert task
    # asyncio's own handler does not wake a loop that is about to sleep: Ctrl-C would take effect at the next line.
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, task.cancel)
    model = open_student(settings, ADAPTER)
    asked = sampling(settings["evaluate"], 0.0 if base else 1.0)
    if sys.stdin.isatty():
        print("(Ctrl-D or Ctrl-C ends it)", flush=True)
    prompts = list(jsonl.read(PROMPTS, "prepared_prompt")) if PROMPTS.is_file() else []
    messages = usual_system(prompts)
    for message in messages:
        print(plain(f"system: {message['content']}"), flush=True)
    sandboxed = any(tool.sandbox for tool in python_source.load("tools.py").values())
    prompt = {"messages": messages, "metadata": {}, "source": "make chat", **usual_sandbox(prompts, needed=sandboxed)}
    try:
        async with toolbox.opened(settings, [prompt]) as tools, tools.open(prompt) as session:
            while line := await asyncio.to_thread(_read_line):
                history = [*messages, {"role": "user", "content": line}]
                conversation = await converse(history, model, asked, session, settings["agent"]["max_turns"])
                for message in conversation.messages[len(history) :]:
                    _show(message)
                if conversation.status == "completed":
                    messages = conversation.messages
                    continue
                reason = conversation.error["message"] if conversation.error else conversation.stop_reason
                print(plain(f"[ended: {reason}; the next line starts from before this one]"), flush=True)
    finally:
        await model.close()


def _read_line() -> str:
    """The next line that is not blank; empty at the end of the input."""
    if sys.stdin.isatty():
        print("you: ", end="", flush=True)
    while line := sys.stdin.readline():
        if line.strip():
            return line.strip()
    if sys.stdin.isatty():
        print()
    return ""


def _show(message: Message) -> None:
    if message["role"] == "tool":
        print(plain(f"  = {message['content']}"), flush=True)
        return
    if message.get("reasoning_content"):
        print(plain(f"  ({message['reasoning_content']})"), flush=True)
    if message["content"]:
        print(plain(f"student: {message['content']}"), flush=True)
    for call in message.get("tool_calls", []):
        print(plain(f"  > {call['function']['name']} {call['function']['arguments']}"), flush=True)


def main() -> None:
    """Talks until the input ends or Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", action="store_true", help="the student as it was before training")
    base = parser.parse_args().base
    lenient()
    with asyncio.Runner() as runner:
        try:
            runner.run(chat(params.load(), base))
        except (InputError, Fatal) as error:
            sys.exit(f"error: {plain(str(error))}")
        except (KeyboardInterrupt, asyncio.CancelledError):
            print("\nended", flush=True)
            os._exit(0)  # at once: a thread may wait for a line, or compute an answer that nobody waits for


if __name__ == "__main__":
    main()
