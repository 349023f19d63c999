"""The right to buy an answer, held by one asker at a time among all processes of a machine.

A lease is a one-byte lock at a place of a file that the key names, so ten thousand leases need a few open files, and the
system frees those of a dead process at once.
"""

import asyncio
import fcntl
import os

POLL_S = 0.2
PLACES = 15
"""Hex digits of the key that make the place: 60 bits, since a place is a signed 64-bit number."""

# Record locks belong to the process and are lost when it closes any handle of the file: one handle per file, kept open.
_files: dict[str, int] = {}
_held: dict[tuple[str, str], asyncio.Event] = {}


class Lease:
    """Holds `key`, a hex string, in `folder` while an `async with` block lasts; waits as long as another task or
    process holds it.
    """

    def __init__(self, folder: str, key: str):
        self._folder, self._name = folder, (folder, key)
        self._place = int(key[-PLACES:], 16)

    async def __aenter__(self) -> None:
        while self._name in _held:
            await _held[self._name].wait()
        _held[self._name] = asyncio.Event()
        try:
            file = _file(self._folder)
            while not _lock(file, self._place):  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(POLL_S)
        except BaseException:
            _held.pop(self._name).set()
            raise

    async def __aexit__(self, *_: object) -> None:
        fcntl.lockf(_file(self._folder), fcntl.LOCK_UN, 1, self._place)
        _held.pop(self._name).set()


def _lock(file: int, place: int) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _file(folder: str) -> int:
    file = _files.get(folder)
    if file is None:
        os.makedirs(folder, exist_ok=True)
        file = _files[folder] = os.open(f"{folder}/leases", os.O_RDWR | os.O_CREAT, 0o600)
    return file
