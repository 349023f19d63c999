"""Writes `rollouts/`: one readable JSON file per rollout, or shards when there are too many for one folder."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from distill.records import atomic, jsonl
from distill.records.types import Rollout

SHARD_ABOVE = 10_000
SHARDS = 64
COMPACT = str.maketrans({"-": None, ":": None, "T": "_", "Z": None})


@contextmanager
def replacing(folder: Path | str, count: int) -> Iterator[Callable[[Rollout], None]]:
    """Gives a function that writes a rollout into a folder for `count` of them, in any order: the bytes do not depend on it.
    The folder replaces `folder` when the block succeeds, and is removed when it raises. The function raises InputError with
    every fault of a rollout.

    Up to 10,000 rollouts: `<YYYYmmdd_HHMMSS>_<id>.json`, with the time of the stored answer. Above: 64 files
    `shard-XX.jsonl` by id, since DVC needs a millisecond for each file, and hashes unchanged shards only once.
    """
    sharded = count > SHARD_ABOVE
    with atomic.replacing_folder(folder) as fresh:

        def add(rollout: Rollout) -> None:
            id_ = rollout["id"]
            text = jsonl.line(rollout, "rollout", f"rollout {id_}", indented=not sharded)
            alone = f"{rollout['created_at'].translate(COMPACT)}_{id_}.json"
            name = f"shard-{int(id_[:4], 16) % SHARDS:02d}.jsonl" if sharded else alone
            with open(fresh / name, "ab" if sharded else "wb") as file:
                file.write(text)

        yield add
        for shard in fresh.glob("shard-*.jsonl"):  # each line begins with the rollout's id
            shard.write_bytes(b"".join(sorted(shard.read_bytes().splitlines(keepends=True))))
