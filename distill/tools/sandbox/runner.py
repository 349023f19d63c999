"""The program that runs a function of tools.py inside a sandbox. It needs nothing but the standard library.

It reads one line of JSON: the file's text, which function, its arguments. It writes one line: `{"result": …}`,
`{"error": …}` for the model, or `{"lost": …}` where the file was not loaded in time. What the function prints goes to
standard error, so that it is not mistaken for the answer. The function runs in a process group of its own, which is killed
when its time is over (counted from where it begins) or nobody waits for it any more (the end of standard input); what it
started and left running lives as long as the sandbox.
"""

import contextlib
import json
import os
import re
import select
import signal
import sys
import time
import types
from collections.abc import Iterator, MappingView, Sequence
from enum import Enum
from itertools import islice
from typing import Any, get_args, get_type_hints

LOADED = b"\n"
"""Before the answer: the function begins now, and with it the time that it has."""
MOST_ITEMS = 1_000_000
"""Of an iterator; one without an end would fill the memory, also when nobody waits for it any more."""
ADDRESS = re.compile(r" at 0x[0-9a-f]+")
NAMES = ("distill", "distill.tools", "rnow", "rnow.core", "rnow.core.tool")


class Context:
    """A stand-in for distill.tools.Context."""

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
        module.tool, module.Context, module.ToolArgs, module.State = tool, Context, Context, dict
        sys.modules[name] = module
    module = types.ModuleType("project_tools")
    module.__file__ = file
    sys.modules["project_tools"] = module
    exec(compile(source, file, "exec"), vars(module))
    return functions


def filled(function: Any, arguments: dict[str, Any], context: dict[str, Any]) -> dict[str, Any]:
    """The arguments with the context: converted to the function's types if the image has pydantic, else as in JSON.

    pydantic is imported only where there is something to convert: that takes longer than most calls.
    """
    try:
        hints = get_type_hints(function)
    except Exception:
        hints = {}
    values: dict[str, Any] = {
        name: Context(**context)
        for name, hint in hints.items()
        if (hint is Context or Context in get_args(hint)) and name != "return"
    }
    values |= arguments
    typed = [name for name in arguments if name in hints and type(arguments[name]) is not hints[name]]
    with contextlib.suppress(ImportError):
        for name in typed:
            from pydantic import TypeAdapter

            values[name] = TypeAdapter(hints[name]).validate_python(arguments[name])
    return values


def plain(value: Any) -> Any:
    """A value without a JSON form, as one that has one; also outside of sandboxes, where orjson takes most of them itself,
    but no class derived from tuple or float."""
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)
    if isinstance(value, (bytes, bytearray)):
        return value.decode(errors="replace")
    # Before the fields of a named tuple are taken for what is looked for in others.
    kind: Any = next((kind for kind in (tuple, float) if isinstance(value, kind)), _of_class)
    return kind(value)


def _of_class(value: Any) -> Any:
    """The form that the class of a value has for this."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(value, "__dataclass_fields__"):
        return {name: getattr(value, name) for name in value.__dataclass_fields__ if name[0] != "_"}
    if isinstance(value, Enum):
        return value.value
    if hasattr(value, "loc"):  # a table of pandas, whose list would lack its index
        return text(value)
    for method in ("tolist", "isoformat"):  # numpy's, and those of dates
        if hasattr(value, method):
            return getattr(value, method)()
    return _unpacked(value)


def _unpacked(value: Any) -> Any:
    """The text that the class of a value has for it; else what lies in it: the items of a generator, a cursor, of a dict's
    keys. Raises RuntimeError where they cannot be read to the end."""
    own: Any = type(value).__str__
    if own is not object.__str__ and not ADDRESS.search(str(value)):  # such as an e-mail's
        return str(value)
    if hasattr(value, "keys"):  # as in a row of SQLite
        return dict(value)
    if isinstance(value, (Iterator, MappingView, Sequence)):
        given: Any = value
        try:
            items = list(islice(given, MOST_ITEMS + 1))
        except Exception as error:  # which may be one that stands for "has no JSON form"
            raise RuntimeError(f"its result broke off: {type(error).__name__}: {error}") from error
        if len(items) > MOST_ITEMS:
            raise RuntimeError(f"its result has more than {MOST_ITEMS:,} items, or no end")
        return items
    return text(value)


def text(value: Any) -> str:
    """Python's text of a value. Raises RuntimeError where that has a place in memory, which says nothing to a model, and
    another thing each time."""
    said = str(value)
    if ADDRESS.search(said):
        raise RuntimeError(f"its result holds a value of type {type(value).__name__}; return a dict, a list or a text")
    return said


def answer(job: dict[str, Any], begin: Any) -> str:
    """The result or the error of a job, as a line of JSON; `begin` is called before the function."""
    try:
        functions = loaded(job["source"], job["file"])
        if job["name"] is None:
            return json.dumps({"result": sorted(functions)})
        function = functions[job["name"]]
        values = filled(function, job["arguments"], job["context"])
        begin()
        result = function(**values)
        if hasattr(result, "__await__"):
            import asyncio

            result = asyncio.run(awaited(result))
        try:
            return json.dumps({"result": result}, default=plain)
        except (TypeError, ValueError, RecursionError):
            return json.dumps({"result": text(result)})
    except BaseException as error:
        return json.dumps({"error": f"{type(error).__name__}: {error}" if str(error) else type(error).__name__})


async def awaited(result: Any) -> Any:
    """The result of an async function."""
    return await result


def work(job: dict[str, Any], pipe: int) -> None:
    """The child process: runs the job with its standard output redirected, and writes the answer to the pipe."""
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    line = answer(job, lambda: os.write(pipe, LOADED)).encode() + b"\n"
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    while line:
        line = line[os.write(pipe, line) :]
    os._exit(0)


def main() -> None:
    """The parent process: waits for the answer, the time limit or the end of the input."""
    job = json.loads(sys.stdin.buffer.readline())
    pipe, childs_end = os.pipe()
    child = os.fork()
    if not child:
        os.close(pipe)
        work(job, childs_end)
    os.close(childs_end)
    deadline = time.monotonic() + job["loading_s"]
    line, late, begun = bytearray(), False, False
    while not line.endswith(b"\n"):
        ready = select.select([pipe, 0], [], [], max(0, deadline - time.monotonic()))[0]
        data = os.read(pipe, 65536) if pipe in ready else b""
        late = not ready
        line += data
        if not begun and line.startswith(LOADED):
            line, begun, deadline = line[1:], True, time.monotonic() + job["timeout_s"]
        if not data and not (0 in ready and os.read(0, 1)):
            break
    if line.endswith(b"\n"):
        os.waitpid(child, 0)
    else:
        try:
            os.killpg(child, signal.SIGKILL)
        except OSError:
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
        if late and not begun:
            said = {"lost": f"{job['file']} was not loaded within {job['loading_s']:g} s"}
        elif late:
            said = {"error": f"the tool did not answer within {job['timeout_s']:g} s"}
        elif code == -signal.SIGKILL:
            said = {"error": "its process was killed, most likely because memory ran out"}
        else:
            said = {"error": f"its process ended with exit code {code}"}
        line = bytearray(json.dumps(said).encode() + b"\n")
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
