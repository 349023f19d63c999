"""Batches that the server is working on, noted on disk, so that no request is ever ordered twice, even if this process
dies."""

import os
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from distill.machine.lease import Lease
from distill.records.atomic import replacing
from distill.records.ids import content_id
from distill.teacher.store import Store


@dataclass
class Batch:
    """One batch, as its file on disk holds it: the field names are the file's keys.

    `name` is ours and is sent as metadata; `id` is the server's, None until the server has told it. `asked`: content id of
    the model that was asked. `file`: id of the uploaded input file. `keys`: the keys of the requests.
    """

    name: str
    asked: str
    file: str
    keys: list[str]
    id: str | None = None


class OpenBatches:
    """The batches of all runs that share a store, at the model of an `identity`."""

    def __init__(self, store: Store, identity: dict[str, Any]):
        self._folder, self._model_id = store.root / "batches", content_id(identity)
        self._known: list[str] = []
        self._messages: dict[str, str] = {}

    def lease(self) -> Lease:
        """The right to create batches, which one process has at a time: it reads what is open, then orders the rest."""
        return Lease(str(self._folder), "0")

    def all(self) -> list[Batch]:
        """All open batches, the oldest first."""
        entries = []
        for path in self._folder.glob("*.json"):
            with suppress(FileNotFoundError):  # another process has just removed it
                batch = Batch(**orjson.loads(path.read_bytes()))
                if batch.asked == self._model_id:
                    entries.append((path.stat().st_mtime, path.name, batch))
        return [batch for *_, batch in sorted(entries, key=lambda entry: entry[:2])]

    def add(self, file: str, keys: list[str]) -> Batch:
        """Notes a batch that is about to be created at the server."""
        batch = Batch(uuid.uuid4().hex, self._model_id, file, keys)
        self.write(batch)
        return batch

    def write(self, batch: Batch) -> None:
        """Saves the present state of a batch durably."""
        with replacing(self._path(batch)) as file:
            file.write(orjson.dumps(asdict(batch)))

    def remove(self, batch: Batch) -> None:
        """Removes the note of a batch: its answers are stored, or will never come."""
        self._path(batch).unlink(missing_ok=True)

    def age_s(self, batch: Batch) -> float:
        """Seconds since the note of a batch was written."""
        return time.time() - self._path(batch).stat().st_mtime

    def has(self, batch: Batch) -> bool:
        """Whether a batch is still open."""
        return self._path(batch).exists()

    def keys(self) -> set[str]:
        """The keys of all requests in open batches."""
        return {key for batch in self.all() for key in batch.keys}

    def ordered_message(self, key: str) -> str | None:
        """The error message for a run that would send the request of `key` another way; None if it is in no open batch. What
        other processes have ordered meanwhile counts. Look here first and into the store then: an answer is there before
        its batch is no longer here."""
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return None
        if names != self._known:
            self._known, self._messages = names, self._messages_by_key()
        return self._messages.get(key)

    def _messages_by_key(self) -> dict[str, str]:
        return {
            key: f"a batch with this and {len(batch.keys) - 1} more requests was ordered, and would be paid as well: collect "
            f"it with runtime.tier: batch, or delete {self._path(batch)} to ask (and pay) again"
            for batch in self.all()
            for key in batch.keys
        }

    def lost_message(self, batch: Batch) -> str:
        """The error message for a batch that the server does not know, or whose files it does not have."""
        return (
            f"batch {batch.id} with {len(batch.keys)} requests was ordered, and the server does not know it (any "
            f"more): use the key it was ordered with, or delete {self._path(batch)} to order (and pay) again"
        )

    def _path(self, batch: Batch) -> Path:
        return self._folder / f"{batch.name}.json"
