"""Notes the project's files that tools.py reads, while it is loaded and while its tools run in this process, so that those
which DVC does not watch can be named; and keeps it in the project's folder.

Python tells of every file that it opens. What a library opens in C by itself is not seen, but for SQLite's databases.
"""

import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.util import source_from_cache
from pathlib import Path
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
OWN_CODE = (("distill",), ("stages",))
WRITTEN, MISSING = -1, -2
MOST_NOTED = 10_000
"""Files: a tool may write one for each of a million calls."""
_opened: dict[str, int] = {}
"""By absolute path, the time of the last change when the file was first read; WRITTEN when a tool wrote it."""
_watching: ContextVar[bool] = ContextVar("watching", default=False)
os.register_at_fork(after_in_child=lambda: _watching.set(False))


@contextmanager
def watched() -> Iterator[None]:
    """Notes what is opened inside of the block, by this thread and by tasks that begin there."""
    _hook()
    token = _watching.set(True)
    try:
        yield
    finally:
        _watching.reset(token)


def watched_call(function: Callable[..., Any], /, **arguments: Any) -> Any:
    """The result of a tool; notes what it opens."""
    with watched():
        return function(**arguments)


async def watched_await(work: Awaitable[Any]) -> Any:
    """The result of an async tool, in a task of its own; notes what it opens."""
    _hook()
    _watching.set(True)  # until the task ends: one that is abandoned is ended elsewhere, where nothing can be set back
    return await work


def files_read(root: Path) -> list[str]:
    """The files inside of `root` that were read so far, relative to it and in order. Without those in hidden folders or
    of an environment, the pipeline's own code, and what a tool made itself or somebody has changed since."""
    root = Path(os.path.abspath(root))
    found = {_source(path) for path, changed in _opened.copy().items() if _last_change(path) == changed}
    return sorted(name for path in found if (name := _inside(path, root)))


def _inside(path: str, root: Path) -> str | None:
    """The path relative to `root`, None for one that is not of the project. A link counts as what it is called."""
    for file, folder in ((Path(path), root), (Path(os.path.realpath(path)), root.resolve())):
        if file.is_relative_to(folder):
            parts = file.relative_to(folder).parts
            foreign = parts[:1] in OWN_CODE or any(part.startswith(".") or part == "site-packages" for part in parts)
            return None if foreign or file.is_relative_to(sys.prefix) or not file.is_file() else "/".join(parts)
    return None


def _source(path: str) -> str:
    """The module that compiled code was made from; any other file as it is."""
    return source_from_cache(path) if path.endswith(".pyc") and "__pycache__" in path else path


@cache
def _hook() -> None:
    """Begins to listen. Python has no way to end that, so it is done once, in a process that has tools."""
    watching, heard = _watching.get, {"open": _note, "sqlite3.connect": _note, "os.chdir": _stay}

    def listen(event: str, arguments: tuple[Any, ...]) -> None:
        if event in heard and watching():
            heard[event](*arguments)

    sys.addaudithook(listen)


def _note(path: Any, mode: Any = None, flags: int = 0) -> None:
    """Notes a file that is about to be opened, by its name or SQLite's URI. What is no name is not ours to refuse."""
    try:
        name = os.fsdecode(path)
        absolute = os.path.abspath(name.removeprefix("file:").partition("?")[0] if name.startswith("file:") else name)
        is_new = absolute not in _opened
        if is_new and len(_opened) == MOST_NOTED:
            return
        if flags & WRITES:
            _opened[absolute] = WRITTEN
        elif is_new and (last := _last_change(absolute)) != MISSING:
            _opened[absolute] = last
    except (OSError, TypeError, ValueError):
        pass


def _stay(path: Any) -> None:
    """Refuses to change to another folder: this process has one for all rollouts, and for what it writes itself."""
    if not os.path.samefile(path, "."):
        raise RuntimeError(
            "a tool cannot change the working folder, which is that of all rollouts: use paths, and cwd= for a program"
        )


def _last_change(path: str) -> int:
    """In ns; MISSING where there is no such file."""
    try:
        return os.stat(path).st_mtime_ns
    except (OSError, ValueError):
        return MISSING
