"""A lock per key among all tasks and processes of a machine, so that no answer is bought twice.

A lease is a one-byte lock in a file, at an offset that the key gives: ten thousand leases need only a few open files,
and the system frees those of a dead process at once.
"""

import asyncio
import fcntl
import os

POLL_S = 0.2
OFFSET_DIGITS = 15
"""Hex digits of the key that give the offset: 60 bits, since an offset is a signed 64-bit number."""

# Record locks belong to the process, which loses them when it closes any handle of the file: one handle each, kept open.
_files: dict[str, int] = {}
_held: dict[tuple[str, str], asyncio.Event] = {}


class Lease:
    """Holds `key`, a hex string, in `folder` while an `async with` block lasts; waits as long as another task or
    process holds it.
    """

    def __init__(self, folder: str, key: str):
        self._folder, self._name = folder, (folder, key)
        self._offset = int(key[-OFFSET_DIGITS:], 16)

    async def __aenter__(self) -> None:
        while self._name in _held:
            await _held[self._name].wait()
        _held[self._name] = asyncio.Event()
        try:
            file = _file(self._folder)
            while not _lock(file, self._offset):  # noqa: ASYNC110 - other processes set no event
                await asyncio.sleep(POLL_S)
        except BaseException:
            _held.pop(self._name).set()
            raise

    async def __aexit__(self, *_: object) -> None:
        self.release()

    def take(self) -> bool:
        """Takes the lease if nobody holds it; whether it did. It has to be released."""
        if self._name in _held or not _lock(_file(self._folder), self._offset):
            return False
        _held[self._name] = asyncio.Event()
        return True

    def release(self) -> None:
        """Gives it back."""
        fcntl.lockf(_file(self._folder), fcntl.LOCK_UN, 1, self._offset)
        _held.pop(self._name).set()


def _lock(file: int, offset: int) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _file(folder: str) -> int:
    file = _files.get(folder)
    if file is None:
        os.makedirs(folder, exist_ok=True)
        file = _files[folder] = os.open(f"{folder}/leases", os.O_RDWR | os.O_CREAT, 0o666)  # less the umask
    return file
