"""Batches that a server works on, on disk: what was ordered is never ordered again, whatever happens to us meanwhile."""

import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from distill.records.atomic import replacing
from distill.records.lease import Lease
from distill.teacher.store import Store


@dataclass
class Batch:
    """One order at the model `asked` (a content id). `name` is ours and goes along as metadata; `id` is the server's,
    None while it was not told to us."""

    name: str
    asked: str
    file: str
    keys: list[str]
    id: str | None = None


class OpenBatches:
    """The orders of all runs that share a store, at one model."""

    def __init__(self, store: Store, asked: str):
        self._folder, self._asked = store.root / "batches", asked

    def ordering(self) -> Lease:
        """Only one process at a time looks what is ordered and orders what is not."""
        return Lease(str(self._folder), "0")

    def all(self) -> list[Batch]:
        """All open orders, the oldest first."""
        found = []
        for path in self._folder.glob("*.json"):
            with suppress(FileNotFoundError):  # another process has just closed it
                batch = Batch(**orjson.loads(path.read_bytes()))
                if batch.asked == self._asked:
                    found.append((path.stat().st_mtime, path.name, batch))
        return [batch for *_, batch in sorted(found, key=lambda one: one[:2])]

    def new(self, file: str, keys: list[str]) -> Batch:
        """Notes an order that is about to be placed."""
        batch = Batch(uuid.uuid4().hex, self._asked, file, keys)
        self.write(batch)
        return batch

    def write(self, batch: Batch) -> None:
        """Makes a batch durable as it is now."""
        with replacing(self._path(batch)) as file:
            file.write(orjson.dumps(asdict(batch)))

    def close(self, batch: Batch) -> None:
        """Forgets a batch: its answers are stored, or will never come."""
        self._path(batch).unlink(missing_ok=True)

    def has(self, batch: Batch) -> bool:
        """Whether a batch is still open."""
        return self._path(batch).exists()

    def promised(self) -> dict[str, str]:
        """Every key that a batch was ordered to answer, with what a person is told who asks for it in another way."""
        return {
            key: f"a batch with this and {len(batch.keys) - 1} more requests was ordered, and would be paid as well: collect "
            f"it with runtime.tier: batch, or delete {self._path(batch)} to ask (and pay) again"
            for batch in self.all()
            for key in batch.keys
        }

    def lost(self, batch: Batch) -> str:
        """What a person is told of a batch that the server does not know, or whose files it no longer has."""
        return (
            f"batch {batch.id} with {len(batch.keys)} requests was ordered, and the server does not know it (any "
            f"more): use the key it was ordered with, or delete {self._path(batch)} to order (and pay) again"
        )

    def _path(self, batch: Batch) -> Path:
        return self._folder / f"{batch.name}.json"
