"""A source of tools: the functions under `@tool` in a Python file."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from copy import deepcopy
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from distill.project import user_code
from distill.records.faults import Faults
from distill.records.types import Prompt
from distill.tools.context import ToolContext, ToolState
from distill.tools.python import files_read, rnow
from distill.tools.python.python_tool import MARKED, Marked, Tool, bare, build, is_function, place
from distill.tools.python.threads import LoopThread, OneThread, abandon_pools, in_any, in_thread
from distill.tools.source import Caller, Offer, Source, ToolError
from distill.tools.told import told


class PythonTools(Source):
    """Tools that run in this process: plain functions in threads, async ones in an event loop of their own. A rollout's
    calls with a state have one thread."""

    def __init__(self, origin: str, tools: dict[str, Tool]):
        self.origin, self.tools = origin, tools
        self._loop = LoopThread()

    async def offers(self, prompt: Prompt) -> list[Offer]:
        """The tools in the order of the file."""
        return offers(self.tools)

    @asynccontextmanager
    async def open(self, prompt: Prompt, sandbox: Any) -> AsyncIterator[Caller]:
        """The tools, with the prompt as their context, and a state that is still empty."""
        thread = OneThread()
        try:
            yield partial(self._call, prompt, ToolState(), thread)
        finally:
            thread.close()

    async def close(self) -> None:
        """Ends the event loop of the async tools; what still runs is abandoned."""
        self._loop.close()
        abandon_pools()

    async def _call(
        self, prompt: Prompt, state: ToolState, thread: OneThread, name: str, arguments: dict[str, Any]
    ) -> str:
        """The function's result as text. Raises ToolError for arguments that fit the schema but not the types."""
        tool = self.tools[name]
        try:
            values = tool.parameters.of(arguments)
        except ValidationError as error:
            raise ToolError(f"the arguments do not fit: {'; '.join(map(_described, error.errors()))}") from None
        values |= {parameter: tool_context(prompt) for parameter in tool.parameters.context}
        values |= dict.fromkeys(tool.parameters.state, state)
        if inspect.iscoroutinefunction(tool.function):
            return await self._loop.run(_awaited(tool.function(**values)))
        call = partial(_called, tool.function, values)
        result = await in_thread(call, start=thread.start if tool.parameters.state else in_any)
        return result if isinstance(result, str) else await self._loop.run(_awaited(result))


def _called(function: Callable[..., Any], values: dict[str, Any]) -> str | Awaitable[Any]:
    result = files_read.watched_call(function, **values)
    return result if inspect.isawaitable(result) else told(result)


async def _awaited(result: Awaitable[Any]) -> str:
    return told(await files_read.watched_await(result))


def offers(tools: dict[str, Tool]) -> list[Offer]:
    """What a model is offered of tools, in their order."""
    return [
        Offer(
            tool.schema,
            tool.timeout_s,
            reads_row=bool(tool.parameters.context),
            keeps_state=bool(tool.parameters.state),
        )
        for tool in tools.values()
    ]


def tool_context(prompt: Prompt) -> ToolContext:
    """A fresh one for each call: changes that a call made to it would be lost when a rollout is resumed."""
    return ToolContext(deepcopy(prompt.get("metadata", {})), prompt.get("id", ""), prompt.get("sample", 0))


def _described(error: Any) -> str:
    place = "".join(f"/{step}" for step in error["loc"])
    return f"{place}: {error['msg']}" if place else error["msg"]


def load(path: Path | str) -> dict[str, Tool]:
    """The functions under `@tool` in a Python file, by name; none when the file does not exist.

    Raises InputError with every fault of every tool, as `tools.py:line: what is wrong`.
    """
    path = Path(path)
    if not path.exists():
        return {}
    marked_before = len(MARKED)
    with rnow.stand_in(), files_read.watched():
        module = user_code.load(path, "project_tools")
    marked = [mark for mark in MARKED[marked_before:] if mark.file == str(path.absolute())]
    return _tools(module, marked)


def _tools(module: ModuleType, marked: list[Marked]) -> dict[str, Tool]:
    """The tools of a loaded file, imported ones included, by name. `marked`: everything under `@tool` in it."""
    functions = {id(bare(thing)): thing for thing in vars(module).values() if _is_marked(thing)}
    faults = Faults()
    faults.add(*(_fault(mark, module) for mark in marked if id(bare(mark.thing)) not in functions))
    tools: dict[str, Tool] = {}
    for function in functions.values():
        with faults.collect(f"{place(function)}: tool '{function.__name__}': "):
            tool = build(function)
            first = tools.setdefault(tool.name, tool)
            if first is not tool:
                faults.add(_duplicate(place(first.function), place(function), tool.name))
    faults.check()
    return tools


def _is_marked(thing: Any) -> bool:
    # getattr_static, since some objects act on every request for an attribute.
    return (
        callable(thing) and inspect.getattr_static(thing, "__distill_tool__", None) is not None and is_function(thing)
    )


def _fault(marked: Marked, module: ModuleType) -> str:
    """Why something under `@tool` is not a tool."""
    thing = marked.thing
    if not is_function(thing):
        kind = "a lambda" if inspect.isfunction(bare(thing)) else "a class" if inspect.isclass(thing) else repr(thing)
        return f"{Path(marked.file).name}:{marked.line}: @tool is on {kind}; a tool is a function: `def name(…)`"
    name, where = thing.__name__, place(thing)
    other = vars(module).get(name)
    if other is not None and _is_marked(other):
        return _duplicate(where, place(other), name)
    if "." in bare(thing).__qualname__:
        owner = bare(thing).__qualname__.rpartition(".")[0].removesuffix(".<locals>")
        return f"{where}: tool '{name}' is inside {owner}; move it to the top level of the file"
    if other is not None and not callable(other):
        return (
            f"{where}: tool '{name}' is a {type(other).__name__} in the end; take away the decorator that makes it one"
        )
    return f"{where}: tool '{name}' is gone at the end of the file; put @tool above all other decorators"


def _duplicate(first: str, second: str, name: str) -> str:
    return f"{second}: tool '{name}' exists already, at {first}; rename one of them"
