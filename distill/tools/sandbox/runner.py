"""The program that runs a function of tools.py inside of a sandbox. Python's own library only: the image has no other.

One line of JSON comes in: the file's text, which function, its arguments. One line goes out: `{"result": …}` or
`{"error": …}`. What the function prints goes to standard error, so that it is never taken for the answer. The function
runs in a process group of its own, which is killed when its time is over or nobody waits for it any more (the end of
standard input); what it started and left running lives on, as long as the sandbox.
"""

import asyncio
import contextlib
import inspect
import json
import os
import select
import signal
import sys
import time
import types
from typing import Any, get_args, get_type_hints

NAMES = ("distill", "distill.tools", "rnow", "rnow.core", "rnow.core.tool")


class Context:
    """Stands in for distill.tools.Context."""

    def __init__(self, metadata: dict[str, Any], prompt_id: str, sample: int):
        self.metadata, self.prompt_id, self.sample = metadata, prompt_id, sample


def loaded(source: str, file: str) -> dict[str, Any]:
    """The functions under `@tool`, by name, with stand-ins for the modules that `tool` comes from."""
    functions: dict[str, Any] = {}

    def tool(function: Any = None, **options: Any) -> Any:
        def mark(marked: Any) -> Any:
            functions[marked.__name__] = marked
            return marked

        return mark if function is None else mark(function)

    for name in NAMES:
        module: Any = types.ModuleType(name)
        module.__path__ = []
        module.tool, module.Context, module.ToolArgs = tool, Context, Context
        sys.modules[name] = module
    module = types.ModuleType("project_tools")
    module.__file__ = file
    sys.modules["project_tools"] = module
    exec(compile(source, file, "exec"), vars(module))
    return functions


def filled(function: Any, arguments: dict[str, Any], context: dict[str, Any]) -> dict[str, Any]:
    """The arguments as the function's types say, where the image has pydantic (else as JSON says), with the context."""
    try:
        hints = get_type_hints(function)
    except Exception:
        hints = {}
    values: dict[str, Any] = {
        name: Context(**context)
        for name, hint in hints.items()
        if (hint is Context or Context in get_args(hint)) and name != "return"
    }
    try:
        from pydantic import TypeAdapter
    except ImportError:
        return {**arguments, **values}
    for name, value in arguments.items():
        values[name] = TypeAdapter(hints[name]).validate_python(value) if name in hints else value
    return values


def plain(value: Any) -> Any:
    """What JSON cannot say, as something that it can."""
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else str(value)


def answer(job: dict[str, Any]) -> str:
    """What the job comes to, as a line of JSON."""
    try:
        functions = loaded(job["source"], job["file"])
        if job["name"] is None:
            return json.dumps({"result": sorted(functions)})
        function = functions[job["name"]]
        result = function(**filled(function, job["arguments"], job["context"]))
        if inspect.isawaitable(result):
            result = asyncio.run(awaited(result))
        return json.dumps({"result": result}, default=plain)
    except BaseException as error:
        return json.dumps({"error": f"{type(error).__name__}: {error}" if str(error) else type(error).__name__})


async def awaited(result: Any) -> Any:
    """What an async function returns."""
    return await result


def work(job: dict[str, Any], pipe: int) -> None:
    """The child: does the job, with its own output out of the way."""
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    said = answer(job).encode() + b"\n"
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    while said:
        said = said[os.write(pipe, said) :]
    os._exit(0)


def main() -> None:
    """The parent: waits for the answer, the end of the time or the end of the input."""
    job = json.loads(sys.stdin.buffer.readline())
    pipe, theirs = os.pipe()
    child = os.fork()
    if not child:
        os.close(pipe)
        work(job, theirs)
    os.close(theirs)
    end = time.monotonic() + job["timeout_s"]
    said, late = bytearray(), False
    while not said.endswith(b"\n"):
        ready = select.select([pipe, 0], [], [], max(0, end - time.monotonic()))[0]
        data = os.read(pipe, 65536) if pipe in ready else b""
        late = not ready
        said += data
        if not data and not (0 in ready and os.read(0, 1)):
            break
    if said.endswith(b"\n"):
        os.waitpid(child, 0)
    else:
        try:
            os.killpg(child, signal.SIGKILL)
        except OSError:
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
        why = (
            f"was not done within {job['timeout_s']:g} s"
            if late
            else "was killed, most likely for want of memory"
            if code == -signal.SIGKILL
            else f"ended with exit code {code}"
        )
        said = bytearray(json.dumps({"error": f"its process {why}"}).encode() + b"\n")
    sys.stdout.buffer.write(said)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
