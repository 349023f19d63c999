"""The store of paid answers: an answer is on disk before it is used, and none is bought twice.

It lies outside the workspace (DVC and `git clean` cannot reach it), keyed by the whole request, and is shared by
all clones, experiments and queue workers of a machine. `keep` returns after the file has its name and is on disk
(fsync), so a kill loses at most an answer that had not fully arrived. A lease per key keeps two processes from buying
the same one.
"""

import asyncio
import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import orjson

from distill.records.faults import InputError
from distill.records.ids import content_id
from distill.records.lease import Lease
from distill.records.paths import cache_dir
from distill.records.types import Request
from distill.teacher import errors
from distill.teacher.answer import Answer
from distill.teacher.errors import ApiError
from distill.teacher.writer import Writer, WriterLost
from distill.teacher.writer_process import place

ROOM = 64 << 20
"""Bytes that have to be free before an answer is bought: what hundreds of requests in flight may bring home."""


def request_key(request: Request, sample: int) -> str:
    """The key of an answer: SHA-256 of the canonical request (provider, model, messages, tools, sampling) and sample.

    Whatever does not change what is bought (concurrency, timeouts, budget, tier) must not be in `request`.
    """
    return content_id({"request": request, "sample": sample}, length=64)


class Store:
    """A folder of answers, one JSON file each: `<root>/ab/abcd….json`, with the request beside the answer. Raises
    InputError where it cannot be a folder.

    Beside them: refusals that would only be repeated (`failure` in place of `answer`), and notes about requests that a
    server works on without us (`….note`).
    """

    def __init__(self, root: Path | None = None):
        chosen = os.environ.get("DISTILL_STORE")
        self.root = root or (Path(chosen).expanduser() if chosen else cache_dir() / "answers")
        self._writer: Writer | None = None
        there = next((path for path in (self.root, *self.root.parents) if path.exists()), None)
        if there and not there.is_dir():
            raise InputError(f"{there} is a file: DISTILL_STORE or DISTILL_CACHE has to name a folder for the answers")

    def entry(self, key: str) -> dict[str, Any]:
        """`{"answer": …}` or `{"failure": …}`; empty when there is neither. A broken file counts as absent."""
        content = _read(self._path(key, ".json"))
        try:
            return orjson.loads(content) if content else {}
        except orjson.JSONDecodeError:
            return {}

    def has(self, key: str) -> bool:
        """Whether there is an entry, without reading it."""
        return os.path.exists(self._path(key, ".json"))

    def get(self, key: str) -> Answer | None:
        """The stored answer, or None."""
        return cast("Answer | None", self.entry(key).get("answer"))

    def put(self, key: str, request: Request | None, answer: Answer, durable: bool = True) -> None:
        """Writes the answer; `durable`: it is on disk when this returns. Raises OSError when the disk does not take it."""
        self._write(key, ".json", _entry(request, answer), durable)

    def check_room(self) -> None:
        """Raises OSError when the disk is so full that an answer bought now might not be kept."""
        try:
            found = os.statvfs(self.root)
        except FileNotFoundError:
            os.makedirs(self.root, exist_ok=True)
            found = os.statvfs(self.root)
        if found.f_bavail * found.f_frsize < ROOM:
            words = f"fewer than {ROOM >> 20} MB are free, and an answer that is bought now might not be kept"
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {words}", str(self.root))

    async def keep(self, key: str, request: Request | None, answer: Answer) -> None:
        """As `put`, while the event loop goes on."""
        if self._writer is None or self._writer.lost or self._writer.loop is not asyncio.get_running_loop():
            self._writer = Writer()
        try:
            await self._writer.write(self._path(key, ".json"), _entry(request, answer))
        except WriterLost:
            await asyncio.to_thread(self.put, key, request, answer)

    async def close(self) -> None:
        """Ends what `keep` began. The store can be used again."""
        if self._writer and self._writer.loop is asyncio.get_running_loop():
            await self._writer.close()
        self._writer = None

    def put_failure(self, key: str, error: ApiError) -> None:
        """Remembers that a request was refused for good, or as often as it was tried."""
        failure = {"kind": error.kind, "message": error.message, "http_status": error.http_status}
        self._write(key, ".json", orjson.dumps({"failure": failure}))

    def forget(self, key: str) -> None:
        """Forgets a failure. Never an answer, which was paid for: not that of another process, which may write it between
        our look and our deletion, and so not while anybody holds the lease."""
        lease = self.lease(key)
        if not lease.take():
            return
        try:
            if "answer" not in self.entry(key):
                with suppress(FileNotFoundError):
                    os.unlink(self._path(key, ".json"))
        finally:
            lease.release()

    def note(self, key: str) -> "Note":
        """A note about the request of `key`."""
        return Note(self, key)

    def lease(self, key: str) -> Lease:
        """The right to buy `key` among all processes of this machine; a dead holder's lease is free at once."""
        return Lease(f"{self.root}/{key[:2]}", key)

    def _path(self, key: str, ending: str) -> str:
        return f"{self.root}/{key[:2]}/{key}{ending}"

    def _write(self, key: str, ending: str, content: bytes, durable: bool = False) -> None:
        path = self._path(key, ending)
        try:
            file = place(path, content)
            try:
                if durable:
                    os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            error.filename = path
            raise


class Note:
    """A few words that outlive the process, about a request that is being answered; gone once they are cleared."""

    def __init__(self, store: Store, key: str):
        self._store, self.key = store, key
        self.path = store._path(key, ".note")
        self.used = False
        self.on_clear: Callable[[], None] = lambda: None

    def read(self) -> str | None:
        """The words, or None."""
        content = _read(self.path)
        self.used = content is not None
        return content.decode() if content else None

    def age_s(self) -> float:
        """Seconds since the words were written; it must have some."""
        return time.time() - os.stat(self.path).st_mtime

    def write(self, words: str) -> None:
        """Replaces the words; they are durable when this returns."""
        self._store._write(self.key, ".note", words.encode(), durable=True)
        self.used = True

    def clear(self) -> None:
        """Forgets them."""
        with suppress(FileNotFoundError):
            os.unlink(self.path)
        self.used = False
        self.on_clear()


def _entry(request: Request | None, answer: Answer) -> bytes:
    return orjson.dumps({"request": request, "answer": answer})


def stored_failure(entry: dict[str, Any]) -> ApiError | None:
    """The error that a store's entry remembers, or None."""
    failure = entry.get("failure")
    return errors.error(failure["kind"], failure["message"], http_status=failure["http_status"]) if failure else None


def _read(path: str) -> bytes | None:
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with os.fdopen(file, "rb", buffering=0) as stream:
        return stream.readall()
