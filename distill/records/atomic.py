"""Atomic writes: a file or a folder is either whole or absent, also after a kill or on a full disk."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_BUFFER = 2**20
"""Bytes. With the default of 8 KiB every long row costs system calls: a file of 440 MB takes twice as long."""


@contextmanager
def replacing(path: Path | str) -> Iterator[BinaryIO]:
    """A binary file that replaces `path` when the block succeeds, and is removed when it raises.

    The data is on disk (fsync) before the name appears. What a killed run left is removed. Raises OSError.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        _remove_leftovers(path)
        handle, created = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        held.enter_context(_locked(Path(created)))
        temporary = f"{created}.tmp"  # where others look for what is left: only now that it is locked
        os.rename(created, temporary)
        try:
            with os.fdopen(handle, "wb", _BUFFER) as file:
                yield file
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException as error:
            Path(temporary).unlink(missing_ok=True)
            if isinstance(error, OSError) and error.filename is None:
                error.filename = str(path)
            raise


@contextmanager
def replacing_folder(path: Path | str) -> Iterator[Path]:
    """An empty folder that replaces `path` when the block succeeds, and is removed when it raises.

    The old folder stays until then. What a killed run left is removed; other runs may replace the same folder meanwhile.
    Without fsync, since a stage or a command can write it again. Raises OSError.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        with _locked(path.parent):
            _remove_leftovers(path)
            fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
            held.enter_context(_locked(fresh))
        try:
            fresh.chmod(0o755)
            yield fresh
            with _locked(path.parent):
                _swap(fresh, path)
        except BaseException as error:
            shutil.rmtree(fresh, ignore_errors=True)
            if isinstance(error, OSError) and error.filename is None:
                error.filename = str(path)
            raise


def _swap(fresh: Path, path: Path) -> None:
    old = fresh.with_suffix(".old.tmp")
    with suppress(FileNotFoundError):
        path.rename(old)
    fresh.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def _remove_leftovers(path: Path) -> None:
    """Removes what killed runs left beside `path`: files and folders that nobody has locked."""
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        with _locked(leftover, wait=False) as locked:
            if locked and leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            elif locked:
                leftover.unlink(missing_ok=True)


@contextmanager
def _locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Locks a file or a folder during the block; gives whether that worked: it may be gone, and not every file system can."""
    with ExitStack() as held:
        locked = False
        with suppress(OSError):
            handle = os.open(path, os.O_RDONLY)
            held.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            locked = True
        yield locked
