"""The store of paid answers: an answer is on disk before it is used, and none is bought twice.

It is outside of the workspace, where neither DVC nor `git clean` can delete it, and is shared by all clones, experiments
and queue workers of a machine. The key of an answer is the hash of the whole request. `keep` returns when the file has
its final name and is on disk (fsync), so a kill loses only an answer that had not fully arrived. A lease per key keeps
two processes from buying the same answer.
"""

import asyncio
import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import orjson

from distill.machine.lease import Lease
from distill.records.faults import InputError
from distill.records.ids import content_id
from distill.records.paths import cache_dir, chosen_dir
from distill.records.types import Request
from distill.teacher import errors
from distill.teacher.answer import Answer
from distill.teacher.errors import ApiError
from distill.teacher.writer import Writer, WriterLost
from distill.teacher.writer_process import write_file

MIN_FREE_BYTES = 64 << 20
"""Disk space that must be free before an answer is bought: enough for the answers of hundreds of requests in flight."""


def request_key(request: Request, sample: int) -> str:
    """The key of an answer: SHA-256 of the canonical request (provider, model, messages, tools, sampling) and sample.

    What does not change the answer (concurrency, timeouts, budget, tier) must not be in `request`.
    """
    return content_id({"request": request, "sample": sample}, length=64)


class Store:
    """A folder with one JSON file per answer, `<root>/ab/abcd….json`. Raises InputError where it cannot be a folder, or its
    path is relative.

    The request is not kept beside its answer: each turn repeats the whole conversation, so those of fifty turns would be
    twenty-five times as large as the conversation.

    A request that was refused for good, or as often as it was tried, has a `failure` in place of the `answer`. Notes
    (`….note`) are about requests that a server works on in the background.
    """

    def __init__(self, root: Path | None = None):
        self.root = root or chosen_dir("DISTILL_STORE") or cache_dir() / "answers"
        self._writer: Writer | None = None
        existing = next((path for path in (self.root, *self.root.parents) if path.exists()), None)
        if existing and not existing.is_dir():
            raise InputError(
                f"{existing} is a file: DISTILL_STORE or DISTILL_CACHE has to name a folder for the answers"
            )

    def entry(self, key: str) -> dict[str, Any]:
        """`{"answer": …}` or `{"failure": …}`; empty when there is no entry. A broken file counts as none."""
        try:
            entry = orjson.loads(_read(self._path(key)) or b"")
        except orjson.JSONDecodeError:
            return {}
        return entry if isinstance(entry, dict) and all(isinstance(value, dict) for value in entry.values()) else {}

    def has(self, key: str) -> bool:
        """Whether there is an entry, without reading it."""
        return os.path.exists(self._path(key))

    def get(self, key: str) -> Answer | None:
        """The stored answer, or None."""
        return cast("Answer | None", self.entry(key).get("answer"))

    def put(self, key: str, answer: Answer, durable: bool = True) -> None:
        """Writes the answer; `durable`: it is on disk when this returns. Raises OSError when it cannot be written."""
        _write(self._path(key), _entry_json(answer), durable)

    def check_free_space(self) -> None:
        """Raises OSError when the disk is so full that an answer bought now might not be stored."""
        try:
            disk = os.statvfs(self.root)
        except FileNotFoundError:
            os.makedirs(self.root, exist_ok=True)
            disk = os.statvfs(self.root)
        if disk.f_bavail * disk.f_frsize < MIN_FREE_BYTES:
            reason = (
                f"fewer than {MIN_FREE_BYTES >> 20} MB are free, and an answer that is bought now might not be kept"
            )
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {reason}", str(self.root))

    async def keep(self, key: str, answer: Answer) -> None:
        """As a durable `put`, without blocking the event loop."""
        if self._writer is None or self._writer.lost or self._writer.loop is not asyncio.get_running_loop():
            self._writer = Writer()
        try:
            await self._writer.write(self._path(key), _entry_json(answer))
        except WriterLost:
            await asyncio.to_thread(self.put, key, answer)

    async def close(self) -> None:
        """Ends the process that `keep` started. The store can be used again."""
        if self._writer and self._writer.loop is asyncio.get_running_loop():
            await self._writer.close()
        self._writer = None

    def put_failure(self, key: str, error: ApiError) -> None:
        """Stores that a request was refused for good, or failed as often as it was tried."""
        failure = {"kind": error.kind, "message": error.message, "http_status": error.http_status}
        _write(self._path(key), orjson.dumps({"failure": failure}))

    def forget(self, key: str) -> None:
        """Deletes a failure, but never an answer, which was paid for. Another process could write one between our read and
        our deletion, so nothing is deleted while anybody else holds the lease."""
        lease = self.lease(key)
        if not lease.take():
            return
        try:
            if "answer" not in self.entry(key):
                with suppress(FileNotFoundError):
                    os.unlink(self._path(key))
        finally:
            lease.release()

    def note(self, key: str) -> "Note":
        """The note about the request of `key`, which may not exist yet."""
        return Note(key, self._path(key, ".note"))

    def lease(self, key: str) -> Lease:
        """The right to buy the answer of `key`, held by one process of this machine at a time; that of a dead one is free."""
        return Lease(f"{self.root}/{key[:2]}", key)

    @contextmanager
    def leases(self, keys: Iterable[str]) -> Iterator[set[str]]:
        """Holds the leases of those `keys` that nobody else holds while the block lasts; gives these keys."""
        held = {key: lease for key in keys if (lease := self.lease(key)).take()}
        try:
            yield set(held)
        finally:
            for lease in held.values():
                lease.release()

    def _path(self, key: str, ending: str = ".json") -> str:
        return f"{self.root}/{key[:2]}/{key}{ending}"


class Note:
    """A short text on disk about a request that a server is working on, so that a later run can collect the answer.

    `used`: whether the note exists, as far as this object has read or written it. `on_clear` is called when it is cleared.
    """

    def __init__(self, key: str, path: str):
        self.key, self.path, self.used = key, path, False
        self.on_clear: Callable[[], None] = lambda: None

    def read(self) -> str | None:
        """The text, or None."""
        content = _read(self.path)
        self.used = content is not None
        return content.decode() if content else None

    def age_s(self) -> float:
        """Seconds since the note was written; it must exist."""
        return time.time() - os.stat(self.path).st_mtime

    def write(self, text: str) -> None:
        """Replaces the text; it is durable when this returns."""
        _write(self.path, text.encode(), durable=True)
        self.used = True

    def clear(self) -> None:
        """Deletes the note."""
        with suppress(FileNotFoundError):
            os.unlink(self.path)
        self.used = False
        self.on_clear()


def _entry_json(answer: Answer) -> bytes:
    return orjson.dumps({"answer": answer})


def stored_failure(entry: dict[str, Any]) -> ApiError | None:
    """The failure in a store's entry as an error; None where there is none, or one of a kind that only newer code knows."""
    failure = entry.get("failure") or {}
    if failure.get("kind") not in errors.KINDS:
        return None
    return errors.error(failure["kind"], failure["message"], http_status=failure["http_status"])


def _write(path: str, content: bytes, durable: bool = False) -> None:
    try:
        file = write_file(path, content)
        try:
            if durable:
                os.fsync(file)
        finally:
            os.close(file)
    except OSError as error:
        error.filename = path
        raise


def _read(path: str) -> bytes | None:
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with os.fdopen(file, "rb", buffering=0) as stream:
        return stream.readall()
