"""The functions under `@tool` in a Python file, as a source of tools."""

import _thread
import asyncio
import importlib.util
import inspect
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from distill.records.faults import InputError
from distill.tools.python_tool import Tool, build
from distill.tools.source import Caller, Offer


class PythonTools:
    """Tools that run in this process: async ones in its event loop, the others in threads of their own."""

    stateful = False
    prefix = None

    def __init__(self, origin: str, tools: dict[str, Tool]):
        self.origin, self.tools = origin, tools

    def group(self, prompt: dict[str, Any]) -> None:
        """All prompts get the same."""

    async def offers(self, prompt: dict[str, Any]) -> list[Offer]:
        """The tools in the order of the file."""
        return [Offer(tool.schema, tool.timeout_s) for tool in self.tools.values()]

    @asynccontextmanager
    async def open(self, prompt: dict[str, Any], sandbox: Any) -> AsyncIterator[Caller]:
        """There is nothing to open."""
        yield self

    async def ready(self, prompts: list[dict[str, Any]]) -> None:
        """They always are."""

    async def close(self) -> None:
        """There is nothing to close."""

    async def call(self, name: str, arguments: dict[str, Any]) -> Any:
        """What the function returns."""
        tool = self.tools[name]
        values = tool.arguments.model_validate(arguments)
        named = {key: getattr(values, key) for key in type(values).model_fields}
        if inspect.iscoroutinefunction(tool.function):
            return await tool.function(**named)
        return await _in_thread(tool.function, named)


def load(path: Path | str) -> PythonTools:
    """The functions under `@tool` in a Python file; none when there is no such file.

    Raises InputError with every fault of every tool, as `tools.py:line: what is wrong`.
    """
    path = Path(path)
    if not path.exists():
        return PythonTools(path.name, {})
    specification = importlib.util.spec_from_file_location("project_tools", path)
    module = importlib.util.module_from_spec(specification)  # type: ignore[arg-type]
    sys.modules["project_tools"] = module
    try:
        specification.loader.exec_module(module)  # type: ignore[union-attr]
    except Exception as error:
        raise InputError(f"{path}: cannot be loaded: {type(error).__name__}: {error}") from error
    tools, faults = {}, []
    for function in vars(module).values():
        if hasattr(function, "__distill_tool__"):
            try:
                tools[function.__name__] = build(function)
            except InputError as error:
                faults += error.faults
    if faults:
        raise InputError(faults)
    return PythonTools(path.name, tools)


async def _in_thread(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Runs a blocking function in a daemon thread: one that hangs is left behind and does not hold up the exit."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Any] = loop.create_future()

    def settle(setter: Callable[[Any], None], value: Any) -> None:
        if not outcome.done():
            setter(value)

    def work() -> None:
        try:
            result, setter = function(**arguments), outcome.set_result
        except Exception as error:
            result, setter = error, outcome.set_exception
        except BaseException as error:
            result, setter = RuntimeError(f"{type(error).__name__}: {error}"), outcome.set_exception
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, setter, result)

    _thread.start_new_thread(work, ())  # Thread.start waits until it runs, and all other rollouts with it
    return await outcome
