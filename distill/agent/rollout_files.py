"""Writes `rollouts/`: one readable JSON file per rollout, or shards when there are too many for one folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

from distill.records import atomic, schema
from distill.records.faults import InputError
from distill.records.types import Rollout

SHARD_ABOVE = 10_000
SHARDS = 64
COMPACT = str.maketrans({"-": None, ":": None, "T": "_", "Z": None})


class Folder:
    """A folder being written. `add` takes the records in any order; the bytes do not depend on it."""

    def __init__(self, path: Path, sharded: bool):
        self._path, self._sharded = path, sharded

    def add(self, rollout: Rollout) -> None:
        """Writes one rollout. Raises InputError with every fault."""
        faults = schema.faults("rollout", rollout)
        if faults:
            raise InputError(
                f"rollout {rollout['id']}: {fault} (refused by schemas/rollout.schema.json)" for fault in faults
            )
        if self._sharded:
            with open(f"{self._path}/shard-{int(rollout['id'][:4], 16) % SHARDS:02d}.jsonl", "ab") as file:
                file.write(orjson.dumps(rollout) + b"\n")
        else:
            with open(f"{self._path}/{_name(rollout)}", "wb") as file:
                file.write(orjson.dumps(rollout, option=orjson.OPT_INDENT_2) + b"\n")

    def finish(self) -> None:
        """Sorts the shards: each line begins with the rollout's id."""
        for shard in self._path.glob("shard-*.jsonl"):
            shard.write_bytes(b"".join(sorted(shard.read_bytes().splitlines(keepends=True))))


@contextmanager
def replacing(folder: Path | str, count: int) -> Iterator[Folder]:
    """A folder for `count` rollouts that replaces `folder` when the block succeeds, and is removed when it raises.

    Up to 10,000 rollouts: `<YYYYmmdd_HHMMSS>_<id>.json`, with the time of the stored answer. Above: 64 files
    `shard-XX.jsonl` by id, since DVC needs a millisecond for each file, and hashes unchanged shards only once.
    """
    with atomic.replacing_folder(folder) as fresh:
        writer = Folder(fresh, count > SHARD_ABOVE)
        yield writer
        writer.finish()


def _name(rollout: Rollout) -> str:
    time = rollout["created_at"].translate(COMPACT)
    return f"{time}_{rollout['id']}.json"
