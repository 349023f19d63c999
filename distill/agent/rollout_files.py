"""Writes `rollouts/`: one readable JSON file per rollout, or shards when there are too many for one folder."""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from distill.records import schema
from distill.records.faults import InputError

SHARD_ABOVE = 10_000
SHARDS = 64
TRIES = 10
"""How often a folder is renamed into place while another run does the same."""
COMPACT = str.maketrans({"-": None, ":": None, "T": "_", "Z": None})


class Folder:
    """A folder being written. `add` takes the records in any order; the bytes do not depend on it."""

    def __init__(self, path: Path, sharded: bool):
        self._path, self._sharded = path, sharded

    def add(self, rollout: dict[str, Any]) -> None:
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
    Without fsync, since all of it can be made again from the store.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    for leftover in folder.parent.glob(f".{folder.name}.*.tmp"):
        with _claimed(leftover) as claimed:
            if claimed:  # the run that made it was killed
                shutil.rmtree(leftover, ignore_errors=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
    with _claimed(fresh):
        try:
            fresh.chmod(0o755)
            writer = Folder(fresh, count > SHARD_ABOVE)
            yield writer
            writer.finish()
            _put_in_place(fresh, folder)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise


def _put_in_place(fresh: Path, folder: Path) -> None:
    """Moves `fresh` to `folder`, although another run may do the same. Raises OSError when `folder` cannot be removed."""
    for _ in range(TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        try:
            fresh.rename(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return
    shutil.rmtree(folder)
    fresh.rename(folder)


@contextmanager
def _claimed(folder: Path) -> Iterator[bool]:
    """Locks a folder during the block; gives whether that worked: another run may be writing to it."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # its run has just ended
        yield False
        return
    try:
        yield _locked(handle)
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _name(rollout: dict[str, Any]) -> str:
    time = rollout["created_at"].translate(COMPACT)
    return f"{time}_{rollout['id']}.json"
